// Numbers as people read them.

const LOCALE = "en";
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });

/** 12,345 */
export function count(n: number): string {
  return whole.format(n);
}

/** "1 row", "2 rows" */
export function several(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** 2.2 MB, by thousands. */
export function bytes(n: number): string {
  let value = n;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 999.5 || unit === "GB")
      return `${unit === "B" || value >= 99.5 ? Math.round(value) : value.toPrecision(2)} ${unit}`;
    value /= 1000;
  }
  return "";
}

/** 4 s, 3 min 20 s, 2 h 5 min */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** A loss: four places, as the logs have it. */
export function loss(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(4);
}

/** A parameter count: 1.1 M, 135 M */
export function millions(n: number): string {
  if (n < 1e5) return count(n);
  return n < 1e9 ? `${(n / 1e6).toPrecision(n < 1e7 ? 2 : 3)} M` : `${(n / 1e9).toPrecision(3)} B`;
}

/** A time of day and date, as this person writes them. */
export function moment(time: number | string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime())
    ? ""
    : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

// What is not a share of items: these are shown as they are.
const PLAIN = new Set(["loss", "perplexity", "bleu", "chrf", "chrf++"]);

/** A measure's value: shares in per cent. */
export function measured(measure: string, value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (!PLAIN.has(measure)) return `${(100 * value).toFixed(1)} %`;
  return measure === "loss" ? value.toFixed(4) : value.toFixed(2);
}

/** A change of a measure, with its sign. */
export function change(measure: string, value: number | null | undefined): string {
  const text = measured(measure, value);
  return typeof value === "number" && value > 0 ? `+${text}` : text.replace("-", "−");
}

/** With a capital first. */
export function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** A message as a sentence: a capital first, unless it begins with a name, and a full stop. */
export function sentence(text: string): string {
  const begun = /^[a-z]+ /.test(text) ? capital(text) : text;
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** A message of the library in this page's terms: sizes as people read them, settings as the form calls them. */
export function inOurWords(text: string): string {
  return text
    .replace(
      /\b(\d{4,}) bytes, (\d+) are available/g,
      (_, need: string, have: string) => `${bytes(Number(need))}, ${bytes(Number(have))} are available`,
    )
    .replace(/(?<![\w-])--([a-z][a-z-]*[a-z])/g, "$1");
}

/** What an error says. */
export function whatWentWrong(error: unknown): { name: string; message: string } {
  if (error instanceof Error) return { name: error.name, message: sentence(inOurWords(error.message)) };
  const like = error as { name?: unknown; message?: unknown } | null;
  if (typeof like?.message === "string")
    return { name: String(like.name ?? "Error"), message: sentence(inOurWords(like.message)) };
  return { name: "Error", message: sentence(String(error)) };
}
