// The module's classes, until its own declarations are built.
declare module "wgpu-sft-wasm" {
  export interface Reader { readonly name: string; readonly size: number; read(start: number, end: number): Promise<Uint8Array> }
  export interface Writer { write(bytes: Uint8Array, at: number): void; close(): void }
  export interface Folder { list(): Promise<string[]>; open(path: string): Promise<Reader | undefined>; create(path: string): Promise<Writer>; remove(path: string): Promise<void> }
  export interface RowFile { name: string; bytes: Uint8Array }
  export class Device {
    static open(kernels?: string): Promise<Device>;
    readonly name: string; readonly kernels: string; readonly isSoftware: boolean; readonly features: string[];
    readonly maxBinding: number; readonly maxBuffer: number; readonly memory: number; readonly peakMemory: number; readonly allocations: number;
    lost(): Promise<string>; destroy(): void; free(): void;
  }
  export class Source { static open(name: string, files: Reader[]): Promise<Source>; readonly about: string; free(): void }
  export class Model {
    static load(device: Device, source: Source, adapter: Reader[] | undefined, dtype: string | undefined, onProgress: (done: number, total: number) => void): Promise<Model>;
    destroy(): void; free(): void;
  }
  export class Chat {
    static create(model: Model, source: Source, context?: number): Promise<Chat>;
    answer(messages: string, sampling: string, onText: (text: string) => boolean): Promise<string>;
    destroy(): void; free(): void;
  }
  export class Suites {
    constructor(source: Source, toml: string, files: RowFile[], settings: string);
    readonly about: string;
    run(model: Model, source: Source, onProgress: (suite: string, done: number, total: number) => boolean): Promise<string | undefined>;
    free(): void;
  }
  export class RowChecker { constructor(maxLength?: number); add(name: string, bytes: Uint8Array, heldOut: boolean): void; finish(): string; free(): void }
  export class RowReader {
    static fromSource(source: Source, settings: string): RowReader;
    preview(name: string, bytes: Uint8Array, limit?: number): string;
    count(name: string, bytes: Uint8Array): string;
    free(): void;
  }
  export class Run {
    static begin(device: Device, source: Source, job: string, data: RowFile[], evalData: RowFile[], suiteFiles: RowFile[], folder: Folder, onProgress: (what: string, done: number, total: number) => void): Promise<Run>;
    readonly about: string; advance(): Promise<string>; save(): Promise<void>; stopEvaluating(): void; destroy(): void; free(): void;
  }
  export interface Case { name: string; family: string; max_error: number; tolerance: number; passed: boolean }
  export function compare(baseName: string, base: string, tunedName: string, tuned: string, examples: number): string;
  export function memoryPlan(source: Source, maxBinding: number, kernels: string, settings: string, longest: number): string;
  export function exportMerged(source: Source, adapter: Reader[], dtype: string | undefined, folder: Folder, onProgress: (done: number, total: number) => void): Promise<void>;
  export function reportHtml(run: string, metrics: string, samples?: string, comparison?: string): string;
  export function check(family: string | undefined, filter: string | undefined, onCase: (result: Case) => void): Promise<void>;
  export default function init(options?: { module_or_path?: string | URL | undefined }): Promise<unknown>;
}
