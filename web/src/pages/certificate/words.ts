// How certificates are spoken of: how long they last, and how near their end is.
import { AuthorityStanding } from "../../api/gen/quantix/certificate/v1/certificate_pb";
import type { StatusView } from "../../ui/status";
import { formatDuration } from "../../ui/time";

const DAY = 24 * 3600_000;

/** The vDC warns under 14 days and calls it an error under 3: the same here. */
export function expiry(at: number | undefined, now: number): StatusView {
  if (at === undefined) return { tone: "unknown", label: "Not known" };
  const left = at - now;
  if (left <= 0) return { tone: "error", label: `Expired ${formatDuration(-left)} ago` };
  const days = Math.floor(left / DAY);
  const label = days >= 3 * 365 ? `${Math.floor(days / 365)} years left` : left > 2 * DAY ? `${days} days left` : `${formatDuration(left)} left`;
  return { tone: left < 3 * DAY ? "error" : left < 14 * DAY ? "warn" : "ok", label };
}

export function standing(is: AuthorityStanding): StatusView & { note: string } {
  switch (is) {
    case AuthorityStanding.NEXT:
      return { tone: "work", label: "Next", note: "Trusted; signs once all connected hosts trust it." };
    case AuthorityStanding.SIGNING:
      return { tone: "ok", label: "Signing", note: "Signs the certificates of hosts." };
    case AuthorityStanding.OLD:
      return { tone: "off", label: "Old", note: "Trusted until nothing it signed is valid any more." };
    default:
      return { tone: "unknown", label: "Unknown", note: "" };
  }
}

/** First bytes of a fingerprint, enough to tell two apart. */
export const shortPrint = (fingerprint: string): string => (fingerprint.slice(0, 16).match(/../g) ?? []).join(":");
