// Times as people read them: "12 s ago", with the exact moment and zone on hover. Ages follow the vDC's clock.
import { useSyncExternalStore } from "react";

let skewMs = 0;

/** Tells what the vDC's clock says now, so that ages do not depend on the browser's clock. */
export function setServerClock(nowMs: number): void {
  skewMs = nowMs - Date.now();
}

export function serverNow(): number {
  return Date.now() + skewMs;
}

const listeners = new Set<() => void>();
let second = Math.floor(Date.now() / 1000);
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    second = Math.floor(Date.now() / 1000);
    for (const l of listeners) l();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0 && timer) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The vDC's time in milliseconds, moving once a second. */
export function useNow(): number {
  useSyncExternalStore(subscribe, () => second);
  return serverNow();
}

export function formatDuration(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 24) return min % 60 === 0 ? `${h} h` : `${h} h ${min % 60} min`;
  const d = Math.floor(h / 24);
  return h % 24 === 0 ? `${d} d` : `${d} d ${h % 24} h`;
}

export function formatAge(at: number, now: number): string {
  const age = now - at;
  if (age < 1500) return "just now";
  const s = Math.round(age / 1000);
  if (s < 60) return `${s} s ago`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min ago`;
  const h = Math.floor(min / 60);
  if (h < 48) return `${h} h ago`;
  return `${Math.floor(h / 24)} d ago`;
}

const exactFormat = new Intl.DateTimeFormat("en-GB", {
  year: "numeric",
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});

export function formatExact(at: number): string {
  return exactFormat.format(at);
}

const momentFormat = new Intl.DateTimeFormat("en-GB", {
  month: "short",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  timeZoneName: "short",
});

/** A moment of a log, to the millisecond. */
export function formatMoment(at: number): string {
  return momentFormat.format(at);
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Hour, minute and second of a moment, for "unknown since 14:03:20". */
export function formatClock(at: number, now: number): string {
  return now - at < 20 * 3600_000 ? clockFormat.format(at) : exactFormat.format(at);
}

/** A moment, shown by its age. */
export function Age({ at }: { at: number | undefined }) {
  const now = useNow();
  if (at === undefined) return <span className="q-muted">never</span>;
  return (
    <time dateTime={new Date(at).toISOString()} title={formatExact(at)}>
      {formatAge(at, now)}
    </time>
  );
}

/** A reported value: greyed with "unknown since" when its host is silent, with its age when it is old. */
export function Reported(props: { at: number | undefined; silent: boolean; staleAfterMs?: number; children: React.ReactNode }) {
  const now = useNow();
  const { at, silent, staleAfterMs = 60_000, children } = props;
  if (at === undefined) return <span className="q-muted">not reported yet</span>;
  if (silent && !children) return <span className="q-muted">unknown since {formatClock(at, now)}</span>;
  if (silent) {
    return (
      <span className="q-muted" title={`Last reported ${formatExact(at)}`}>
        unknown since {formatClock(at, now)} (was {children})
      </span>
    );
  }
  return (
    <>
      {children}
      {now - at > staleAfterMs && (
        <span className="q-muted" title={formatExact(at)}>
          {" "}
          · {formatAge(at, now)}
        </span>
      )}
    </>
  );
}
