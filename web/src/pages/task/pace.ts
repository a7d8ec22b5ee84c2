// How fast a task goes, from what this page saw of it lately: the mean since its start would hide that it stands still.
const WINDOW_MS = 20_000;
/** Shorter than that, a rate says nothing. */
const SPAN_MIN_MS = 1_500;
const TASKS_MAX = 200;

interface Sample {
  at: number;
  done: number;
}

export interface Pace {
  /** Units a second; absent while it is not known. */
  perSecond: number | undefined;
  /** Since when nothing moved, in milliseconds, as far as this page saw. */
  stillMs: number;
}

const seen = new Map<string, Sample[]>();

/** Takes down how far a task is now, and answers its pace. */
export function paceOf(id: string, done: number, now: number): Pace {
  const samples = seen.get(id) ?? [];
  const last = samples.at(-1);
  // What runs backwards began anew.
  if (last && done < last.done) samples.length = 0;
  if (samples.length === 0 || done > (last?.done ?? -1)) samples.push({ at: now, done });
  while (samples.length > 2 && now - (samples[1]?.at ?? now) > WINDOW_MS) samples.shift();
  seen.delete(id);
  seen.set(id, samples);
  const oldest = seen.keys().next().value;
  if (seen.size > TASKS_MAX && oldest !== undefined) seen.delete(oldest);
  const [first, latest] = [samples[0], samples.at(-1)];
  if (!first || !latest) return { perSecond: undefined, stillMs: 0 };
  const span = now - first.at;
  const stillMs = now - latest.at;
  return { perSecond: span < SPAN_MIN_MS || stillMs > WINDOW_MS ? undefined : (latest.done - first.done) / (span / 1000), stillMs };
}

export function forgetPaces(): void {
  seen.clear();
}
