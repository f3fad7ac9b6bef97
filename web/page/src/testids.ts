// The `data-testid`s of the page: what tests may click and read. Stable: a test that uses one should outlive a redesign.

export const T = {
  // Everywhere
  device: "device", // the GPU's name; data-state: opening, ready, none, lost, failed
  quickStart: "quick-start", // tunes what is chosen: scrolls to Train and starts
  noWebGpu: "no-webgpu", // a notice, there only without WebGPU
  software: "software-adapter", // a notice, there only where the GPU is the CPU
  noStorage: "no-storage", // a notice, there only where the browser keeps no files for the page
  deviceLost: "device-lost", // a notice, there only after a loss
  deviceReopen: "device-reopen", // its button: opens the device again, and resumes the run that was under way
  workerDead: "worker-dead", // a notice, there only when the worker has died

  // Model
  modelSource: "model-source", // radio buttons: model-source-bundled, -files, -hub, -stored
  modelFolder: "model-folder", // <input type=file webkitdirectory>
  modelFiles: "model-files", // <input type=file multiple>: a .gguf, or a folder's files
  modelDrop: "model-drop",
  modelHubId: "model-hub-id",
  modelHubFile: "model-hub-file",
  modelHubRevision: "model-hub-revision",
  modelHubOpen: "model-hub-open",
  modelProgress: "model-progress", // with model-progress-cancel
  modelInfo: "model-info", // there once a model is open
  modelName: "model-name",
  modelError: "model-error",
  plan: "memory-plan", // data-fits: true, maybe, false
  planError: "memory-plan-error",
  modelKeep: "model-keep", // copies the open model into this browser
  modelStored: "model-stored", // list of kept models: buttons model-stored-open, model-stored-forget

  // Data
  dataSource: "data-source", // radio buttons: data-source-bundled, -files, -paste, -write
  dataFiles: "data-files", // <input type=file multiple>
  dataDrop: "data-drop",
  dataPaste: "data-paste", // <textarea>
  dataPasteUse: "data-paste-use",
  dataRows: "data-rows", // the table of rows by hand: data-row-instruction, data-row-answer, data-row-remove
  dataRowAdd: "data-row-add",
  dataRowsUse: "data-rows-use",
  heldOut: "held-out", // radio buttons: held-out-own, held-out-share, held-out-none
  heldOutFiles: "held-out-files", // <input type=file multiple>
  heldOutShare: "held-out-share-percent",
  dataError: "data-error",
  dataProgress: "data-progress",
  dataSummary: "data-summary", // data-rows, data-held-out: counts
  dataTasks: "data-tasks",
  dataFindings: "data-findings", // each with data-code, data-severity
  dataCount: "data-count", // tokens; needs a model
  dataBad: "data-bad",
  preview: "preview", // rows: preview-row; tokens: [data-learnt]
  previewMore: "preview-more",
  previewError: "preview-error",

  // Train
  form: "train-form", // settings: setting-KEY with train.toml's keys, such as setting-learning-rate; method: setting-method-lora, -full
  runName: "run-name",
  useSuites: "train-suites", // tick box: measure before and after
  settingsMore: "settings-more", // <details>
  settingsReset: "settings-reset",
  start: "train-start",
  pause: "train-pause",
  resume: "train-resume",
  stop: "train-stop",
  resumeWithRows: "train-resume-with-rows", // for a run from elsewhere, which came without its rows
  phase: "train-phase", // words; data-phase: idle, starting, running, pausing, paused, stopping, stopped, finished, failed
  trainProgress: "train-progress",
  trainError: "train-error", // data-error: the error's name
  trainNote: "train-note",
  live: "train-live", // data-step, data-total, data-loss, data-eval-loss: unrounded
  chart: "train-chart",
  chartLog: "train-chart-log", // tick box
  chartTable: "train-table",
  samples: "train-samples", // each sample-row
  runs: "runs", // each run-row with data-run, data-state
  runOpen: "run-open",
  runResume: "run-resume",
  runDelete: "run-delete",
  runDeleteSure: "run-delete-sure",
  runImport: "run-import", // <input type=file webkitdirectory>
  runImportZip: "run-import-zip", // <input type=file>
  runsError: "runs-error",

  // Evaluate
  evalRun: "eval-run", // <select>: the run that is compared and asked
  evalSource: "eval-source", // radio buttons: eval-source-bundled, -made, -files
  evalFiles: "eval-files", // <input type=file multiple>: a suite file and its rows
  evalMeasures: "eval-measure", // tick boxes: eval-measure-exact_match, …
  evalLimit: "eval-limit",
  evalTokens: "eval-max-new-tokens",
  evalStart: "eval-start",
  evalProgress: "eval-progress", // with eval-progress-cancel
  evalError: "eval-error",
  comparison: "comparison", // rows: comparison-row with data-suite, data-measure, data-base, data-tuned, data-verdict
  consistency: "consistency",
  askPrompt: "ask-prompt",
  askTemperature: "ask-temperature",
  askTokens: "ask-max-new-tokens",
  ask: "ask",
  askStop: "ask-stop",
  askBase: "ask-base", // the base model's answer
  askTuned: "ask-tuned",
  askError: "ask-error",

  // Keep
  keepRun: "keep-run", // <select>
  keepAdapter: "keep-adapter",
  keepMerged: "keep-merged",
  keepDtype: "keep-dtype",
  keepFolder: "keep-folder",
  keepReport: "keep-report",
  keepMetrics: "keep-metrics",
  keepProgress: "keep-progress",
  keepError: "keep-error",
  keepToml: "keep-toml", // <textarea readonly>
  keepTomlCopy: "keep-toml-copy",
  keepTomlSave: "keep-toml-save",
  storage: "storage",

  // Check this GPU
  checkFilter: "check-filter",
  checkFailures: "check-failures-only",
  checkStart: "check-start",
  checkProgress: "check-progress", // with check-progress-cancel
  checkSummary: "check-summary", // data-passed, data-failed, data-done
  checkTable: "check-table", // rows: check-row
  checkCopy: "check-copy",
  checkError: "check-error",
} as const;
