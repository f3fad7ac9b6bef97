// What a tab that was closed in the middle left behind.
import { type Files, readJson } from "./folder.js";
import { JOB } from "./job.js";
import { lock } from "./locks.js";
import { KEPT } from "./models.js";

/** Remove folders that nobody finished and nobody is at work on: theirs are the names `KIND FOLDER` after `locks`. */
export async function sweep(files: Files, locks: string): Promise<void> {
  const each = async (kind: string, folder: Files, isWhole: (one: Files) => Promise<boolean>): Promise<void> => {
    for (const name of await folder.folders()) {
      const one = folder.sub(name);
      if (await isWhole(one)) continue;
      const release = await lock(`${locks}${kind} ${name}`);
      if (!release) continue;
      // It may have been finished meanwhile.
      if (!(await isWhole(one))) await folder.remove(name).catch(() => {});
      release();
    }
  };
  await each("scratch", files.sub("scratch"), async () => false);
  await each("model", files.sub("models"), async (one) => (await readJson(one, KEPT)) !== undefined);
  await each("run", files.sub("runs"), async (one) => (await one.file(JOB)) !== undefined);
}
