// Names that all tabs of an origin share.

/** Take a name until what this gives is called, or the tab ends; `undefined` where someone has it. */
export function lock(name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    const request = navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      if (lock) return new Promise<void>((release) => resolve(release));
      resolve(undefined);
      return undefined;
    });
    request.catch(reject);
  });
}
