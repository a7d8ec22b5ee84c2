// API tokens in words: how long they last, and how one is used.
import type { StatusView } from "../../ui/status";
import { formatDuration, formatExact } from "../../ui/time";

const DAY_MS = 24 * 3600_000;
const SOON_MS = 14 * DAY_MS;

/** When a token ends; soon is worth a warning, since programs stop with it. */
export function endOf(endsAt: number | undefined, now: number): StatusView & { title?: string } {
  if (endsAt === undefined) return { tone: "off", label: "never" };
  const title = formatExact(endsAt);
  if (endsAt <= now) return { tone: "error", label: `ended ${formatDuration(now - endsAt)} ago`, title };
  // Past two days hours say nothing.
  const left = endsAt - now;
  const label = `in ${left > 2 * DAY_MS ? `${Math.floor(left / DAY_MS)} d` : formatDuration(left)}`;
  return { tone: left < SOON_MS ? "warn" : "ok", label, title };
}

const FIRST_CALLS = [
  ["vm.view", "vm.v1.VmService/ListVms"],
  ["host.view", "host.v1.HostService/ListHosts"],
  ["pool.view", "pool.v1.PoolService/ListPools"],
  ["image.view", "image.v1.ImageService/ListImages"],
  ["volume.view", "volume.v1.VolumeService/ListVolumes"],
] as const;

/** A call to try a token with. The token itself stays out of it: a shell remembers what was typed. */
export function exampleFor(permissions: readonly string[], origin: string): string {
  const call = FIRST_CALLS.find(([word]) => permissions.includes(word))?.[1] ?? "session.v1.SessionService/GetSession";
  return `curl -H "Authorization: Bearer $QUANTIX_TOKEN" -H "Content-Type: application/json" -d '{}' ${origin}/quantix.${call}`;
}

/** How long a token may last; 0 is for ever. */
export const LIVES = [
  { value: "30", label: "30 days" },
  { value: "90", label: "90 days" },
  { value: "365", label: "365 days" },
  { value: "0", label: "Never ends" },
] as const;
