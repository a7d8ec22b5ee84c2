// Small parts that most pages share.
import { Button, Skeleton } from "@patternfly/react-core";
import CheckIcon from "@patternfly/react-icons/dist/esm/icons/check-icon";
import CopyIcon from "@patternfly/react-icons/dist/esm/icons/copy-icon";
import { useState, type ReactNode } from "react";
import type { StatusView } from "./status";
import { Status } from "./status";
import { Tip } from "./tip";

/** Title line: name, state, main actions at the right. */
export function PageTitle(props: { title: string; status?: StatusView; note?: ReactNode; actions?: ReactNode }) {
  return (
    <header className="q-title">
      <div className="q-title__text">
        <h1>{props.title}</h1>
        {props.status && <Status {...props.status} />}
        {props.note && <span className="q-muted q-title__note">{props.note}</span>}
      </div>
      {props.actions && <div className="q-actions">{props.actions}</div>}
    </header>
  );
}

/** What this is, why it is empty, and the one thing to do. */
export function Empty(props: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="q-empty">
      <h2>{props.title}</h2>
      {props.children && <p>{props.children}</p>}
      {props.action}
    </div>
  );
}

/** Facts as label and value, in columns. */
export function Facts({ rows, label }: { rows: [string, ReactNode][]; label?: string }) {
  return (
    <dl className="q-facts" aria-label={label}>
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value === "" || value === undefined || value === null ? <span className="q-muted">–</span> : value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Card({ title, aside, children }: { title: string; aside?: ReactNode; children: ReactNode }) {
  return (
    <section className="q-card" aria-label={title}>
      <header className="q-card__head">
        <h2>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}

/** An id or address that one click copies. */
export function Copyable({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  if (text === "") return <span className="q-muted">–</span>;
  return (
    <span className="q-copy">
      <code>{text}</code>
      <Button
        variant="plain"
        size="sm"
        aria-label={copied ? `${label} copied` : `Copy ${label}`}
        icon={copied ? <CheckIcon /> : <CopyIcon />}
        onClick={() => {
          void navigator.clipboard.writeText(text).then(() => {
            setCopied(true);
            setTimeout(() => setCopied(false), 2000);
          });
        }}
      />
    </span>
  );
}

export interface Allowed {
  verb: string;
  allowed: boolean;
  reasonIfNot: string;
}

/** What the API says about a verb; an action it does not name is not offered. */
export function allowedOf(actions: readonly Allowed[], verb: string): Allowed {
  return (
    actions.find((a) => a.verb === verb) ?? { verb, allowed: false, reasonIfNot: "The vDC does not offer this here." }
  );
}

export function ActionButton(props: {
  action: Allowed;
  /** A button that submits its form needs none. */
  onClick?: () => void;
  type?: "button" | "submit";
  children: ReactNode;
  variant?: "primary" | "secondary" | "danger" | "link";
  icon?: ReactNode;
  busy?: boolean;
  /** As large as the one button of an empty page. */
  isLarge?: boolean;
  /** What it does to what, where the word alone does not say it. */
  "aria-label"?: string;
}) {
  const { action, onClick, children, variant = "secondary", icon, busy, isLarge } = props;
  const button = (
    <Button
      variant={variant === "danger" ? "secondary" : variant}
      isDanger={variant === "danger"}
      icon={icon}
      type={props.type}
      size={isLarge ? "default" : "sm"}
      aria-label={props["aria-label"]}
      isAriaDisabled={!action.allowed || busy}
      isLoading={busy}
      onClick={action.allowed && !busy ? onClick : undefined}
    >
      {children}
    </Button>
  );
  return action.allowed ? button : <Tip text={action.reasonIfNot}>{button}</Tip>;
}

/** A bar for how much of a whole is used; amber and red near the end. */
export function Meter({ label, used, total, text }: { label: string; used: number; total: number; text: string }) {
  const ratio = total > 0 ? Math.min(1, used / total) : 0;
  const tone = ratio >= 0.95 ? "error" : ratio >= 0.85 ? "warn" : "plain";
  return (
    <div className="q-meter">
      <div
        className={`q-meter__bar q-meter__bar--${tone}`}
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(ratio * 100)}
        aria-valuetext={text}
      >
        <span style={{ width: `${ratio * 100}%` }} />
      </div>
      <span className="q-meter__text">{text}</span>
    </div>
  );
}

/** How far work is; without a total it moves without a figure. */
export function Progress({ label, done, total, text }: { label: string; done: number; total: number; text?: ReactNode }) {
  const known = total > 0;
  const percent = known ? Math.min(100, (done / total) * 100) : undefined;
  return (
    <div className="q-progress">
      <div
        className={known ? "q-progress__bar" : "q-progress__bar q-progress__bar--open"}
        role="progressbar"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={percent === undefined ? undefined : Math.round(percent)}
      >
        <span style={percent === undefined ? undefined : { width: `${percent}%` }} />
      </div>
      {text && <div className="q-progress__text">{text}</div>}
    </div>
  );
}

export function Loading({ label, lines = 4 }: { label: string; lines?: number }) {
  return (
    <div className="q-loading" role="status" aria-label={`Loading ${label}`}>
      {Array.from({ length: lines }, (_, i) => (
        <Skeleton key={i} width={`${90 - i * 14}%`} height="20px" />
      ))}
    </div>
  );
}
