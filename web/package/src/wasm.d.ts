// The class that the module does not have yet.
import "wgpu-sft-wasm";
import type { Device, Folder, RowFile, Source } from "wgpu-sft-wasm";

declare module "wgpu-sft-wasm" {
  export class Run {
    static begin(device: Device, source: Source, job: string, data: RowFile[], evalData: RowFile[], suiteFiles: RowFile[], folder: Folder, onProgress: (what: string, done: number, total: number) => void): Promise<Run>;
    readonly about: string; advance(): Promise<string>; save(): Promise<string>; stopEvaluating(): void; destroy(): void; free(): void;
  }
}
