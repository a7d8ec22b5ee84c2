// A refusal or failure, whole: code, sentence, where, the system's own words, what to do, details to copy.
import { Button } from "@patternfly/react-core";
import { useState } from "react";
import { StatusIcon } from "./status";

export interface FaultView {
  code: string;
  message: string;
  cause?: string;
  remedy?: string;
  host?: string;
  phase?: string;
  field?: string;
  reasons?: { host: string; reason: string }[];
  evidence?: { url: string; httpStatus: number; contentType: string; bodyStart: string };
}

/** The fault as text for a ticket or a chat. */
export function faultText(fault: FaultView): string {
  const lines = [`${fault.code}: ${fault.message}`];
  if (fault.host) lines.push(`Host: ${fault.host}`);
  if (fault.phase) lines.push(`Step: ${fault.phase}`);
  if (fault.cause) lines.push(`Cause: ${fault.cause}`);
  if (fault.field) lines.push(`Field: ${fault.field}`);
  for (const r of fault.reasons ?? []) lines.push(`- ${r.host}: ${r.reason}`);
  const e = fault.evidence;
  if (e) {
    lines.push(`Asked: ${e.url}`, `Answer: ${e.httpStatus || "none"} ${e.contentType}`);
    if (e.bodyStart) lines.push(`Body starts: ${e.bodyStart}`);
  }
  if (fault.remedy) lines.push(`Remedy: ${fault.remedy}`);
  return lines.join("\n");
}

interface FaultPanelProps {
  fault: FaultView;
  /** For what goes on: since when, and how old the word is. */
  since?: React.ReactNode;
  onRetry?: () => void;
  onClose?: () => void;
}

export function FaultPanel({ fault, since, onRetry, onClose }: FaultPanelProps) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(faultText(fault));
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  const e = fault.evidence;
  return (
    <section className="q-fault" role="alert" aria-label={`Error ${fault.code}`}>
      <div className="q-fault__head">
        <StatusIcon tone="error" />
        <strong>{fault.message}</strong>
        <code className="q-fault__code">{fault.code}</code>
      </div>
      <dl className="q-fault__facts">
        {fault.host && <Line label="Host">{fault.host}</Line>}
        {since && <Line label="Since">{since}</Line>}
        {fault.phase && <Line label="Step">{fault.phase}</Line>}
        {fault.cause && (
          <Line label="Cause">
            <code>{fault.cause}</code>
          </Line>
        )}
        {(fault.reasons ?? []).map((r) => (
          <Line key={r.host} label={r.host}>
            {r.reason}
          </Line>
        ))}
        {e?.url && (
          <Line label="Answer">
            <code>
              {e.url} · {e.httpStatus ? `HTTP ${e.httpStatus}` : "no HTTP answer"} {e.contentType}
            </code>
            {e.bodyStart && <code className="q-fault__body">{e.bodyStart}</code>}
          </Line>
        )}
        {fault.remedy && <Line label="What to do">{fault.remedy}</Line>}
      </dl>
      <div className="q-fault__actions">
        {onRetry && (
          <Button variant="secondary" size="sm" onClick={onRetry}>
            Try again
          </Button>
        )}
        <Button variant="link" size="sm" onClick={() => void copy()}>
          {copied ? "Copied" : "Copy details"}
        </Button>
        {onClose && (
          <Button variant="link" size="sm" onClick={onClose}>
            Dismiss
          </Button>
        )}
      </div>
    </section>
  );
}

function Line({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  );
}
