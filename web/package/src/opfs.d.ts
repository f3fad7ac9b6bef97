// What workers have and TypeScript's library for pages does not say.
interface FileSystemSyncAccessHandle {
  write(bytes: ArrayBufferView<ArrayBuffer>, options?: { at?: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

interface FileSystemFileHandle {
  createSyncAccessHandle(): Promise<FileSystemSyncAccessHandle>;
  /** Renames it; a file of that name is replaced. Not every browser has it. */
  move?(name: string): Promise<void>;
}
