// Health as a dot: colour and shape say the same, and a word always stands beside it.
export type Tone = "ok" | "warn" | "error" | "work" | "off" | "unknown";

const SHAPES: Record<Tone, React.ReactNode> = {
  ok: <circle cx="6" cy="6" r="4.5" fill="currentColor" />,
  warn: <path d="M6 1.2 11.3 10.6H.7Z" fill="currentColor" />,
  error: <path d="M3.6 1h4.8L11 3.6v4.8L8.4 11H3.6L1 8.4V3.6ZM3.6 5.2v1.6h4.8V5.2Z" fill="currentColor" fillRule="evenodd" />,
  work: <path d="M6 1.7a4.3 4.3 0 1 1-4.3 4.3" fill="none" stroke="currentColor" strokeWidth="2" strokeLinecap="round" />,
  off: <circle cx="6" cy="6" r="3.8" fill="none" stroke="currentColor" strokeWidth="1.7" />,
  unknown: <circle cx="6" cy="6" r="3.8" fill="none" stroke="currentColor" strokeWidth="1.7" strokeDasharray="2 2" />,
};

export function StatusIcon({ tone }: { tone: Tone }) {
  return (
    <svg className={`q-dot q-dot--${tone}`} viewBox="0 0 12 12" width="12" height="12" aria-hidden="true" data-tone={tone}>
      {SHAPES[tone]}
    </svg>
  );
}

export interface StatusView {
  tone: Tone;
  label: string;
}

export function Status({ tone, label, title }: StatusView & { title?: string }) {
  return (
    <span className="q-status" title={title}>
      <StatusIcon tone={tone} />
      <span>{label}</span>
    </span>
  );
}
