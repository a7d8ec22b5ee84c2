// Events and alerts in the words and signs of the page.
import { Severity } from "../../api/gen/quantix/event/v1/event_pb";
import type { StatusView } from "../../ui/status";

export function severityStatus(severity: Severity): StatusView {
  switch (severity) {
    case Severity.ERROR:
      return { tone: "error", label: "Error" };
    case Severity.WARNING:
      return { tone: "warn", label: "Warning" };
    case Severity.INFO:
      return { tone: "ok", label: "Info" };
    default:
      return { tone: "unknown", label: "Unknown" };
  }
}

/** What the filter by severity offers: this and worse. */
export const SEVERITIES = [
  { value: "", label: "All severities", wire: Severity.UNSPECIFIED },
  { value: "warning", label: "Warnings and errors", wire: Severity.WARNING },
  { value: "error", label: "Errors only", wire: Severity.ERROR },
] as const;
