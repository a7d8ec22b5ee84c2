// What the daemon of a host wrote down lately: filtered, live, and told where it ends.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Button, FormSelect, FormSelectOption } from "@patternfly/react-core";
import { useEffect, useState } from "react";
import { faultOf } from "../../api/fault";
import type { Host } from "../../api/gen/quantix/host/v1/host_pb";
import { LogLevel, type LogRecord } from "../../api/gen/quantix/log/v1/log_pb";
import { FaultPanel } from "../../ui/fault";
import { Filter } from "../../ui/filter";
import { LookAgain } from "../../ui/look-again";
import { Empty } from "../../ui/parts";
import { formatCount } from "../../ui/quantity";
import { Status, type StatusView } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age, formatExact, formatMoment, serverNow } from "../../ui/time";
import { useLogs, type Log } from "./use-logs";
import { ms } from "./words";

const LEVELS: { level: LogLevel; label: string; view: StatusView }[] = [
  { level: LogLevel.ERROR, label: "Errors", view: { tone: "error", label: "Error" } },
  { level: LogLevel.WARN, label: "Warnings and worse", view: { tone: "warn", label: "Warning" } },
  { level: LogLevel.INFO, label: "Info and worse", view: { tone: "ok", label: "Info" } },
  { level: LogLevel.DEBUG, label: "Debug and worse", view: { tone: "off", label: "Debug" } },
  { level: LogLevel.TRACE, label: "Trace and worse", view: { tone: "off", label: "Trace" } },
];
const UNKNOWN: StatusView = { tone: "unknown", label: "Unknown" };
const levelStatus = (level: LogLevel): StatusView => LEVELS.find((l) => l.level === level)?.view ?? UNKNOWN;

const SPANS = [
  { minutes: 0, label: "Any time" },
  { minutes: 5, label: "Last 5 minutes" },
  { minutes: 60, label: "Last hour" },
  { minutes: 1440, label: "Last day" },
];

const at = (r: LogRecord): number => (r.at ? timestampMs(r.at) : 0);

const COLUMNS: Column<LogRecord>[] = [
  {
    id: "at",
    header: "Time",
    width: "190px",
    cell: (r) => (
      <time className="q-nowrap" dateTime={new Date(at(r)).toISOString()}>
        {formatMoment(at(r))}
      </time>
    ),
  },
  { id: "level", header: "Level", width: "110px", cell: (r) => <Status {...levelStatus(r.level)} /> },
  { id: "message", header: "Message", cell: (r) => <span className="q-mono">{r.message}</span> },
  { id: "target", header: "Part", cell: (r) => <span className="q-mono q-muted q-nowrap">{r.target}</span> },
];

const line = (r: LogRecord) => `${new Date(at(r)).toISOString()} ${levelStatus(r.level).label.toUpperCase()} ${r.target}: ${r.message}`;

/** Oldest first, as one reads a log in a ticket. */
export function logText(records: readonly LogRecord[]): string {
  return records.map(line).toReversed().join("\n");
}

export function HostLogs({ host }: { host: Host }) {
  const [level, setLevel] = useState(LogLevel.UNSPECIFIED);
  const [filter, setFilter] = useState("");
  const [span, setSpan] = useState<{ minutes: number; since: number | undefined }>({ minutes: 0, since: undefined });
  const [isLive, setLive] = useState(true);
  const { log, error, isFetching, look, more } = useLogs({ hostId: host.id, level, filter, sinceMs: span.since }, isLive);
  const fault = error === undefined ? undefined : faultOf(error);
  const chooseSpan = (minutes: number) =>
    setSpan({ minutes, since: minutes === 0 ? undefined : serverNow() + Number(host.clockSkewMs) - minutes * 60_000 });
  const isNarrowed = filter !== "" || span.minutes !== 0 || level !== LogLevel.UNSPECIFIED;
  return (
    <div className="q-stack">
      <div className="q-toolbar" style={{ marginBottom: 0 }}>
        <Filter label="Filter log by words" value={filter} onChange={setFilter} />
        <div>
          <FormSelect aria-label="Level" value={level} onChange={(_, v) => setLevel(Number(v))}>
            <FormSelectOption value={LogLevel.UNSPECIFIED} label="All levels" />
            {LEVELS.slice(0, 3).map((l) => (
              <FormSelectOption key={l.level} value={l.level} label={l.label} />
            ))}
          </FormSelect>
        </div>
        <div>
          <FormSelect aria-label="Time" value={span.minutes} onChange={(_, v) => chooseSpan(Number(v))}>
            {SPANS.map((s) => (
              <FormSelectOption key={s.minutes} value={s.minutes} label={s.label} />
            ))}
          </FormSelect>
        </div>
      </div>
      <LookAgain busy={isFetching && !isLive} onLook={look} said={`${host.name} was asked`} at={ms(log?.last.observedAt)}>
        <Button variant="secondary" size="sm" onClick={() => setLive(!isLive)}>
          {isLive ? "Pause" : "Go on"}
        </Button>
        <CopyLog records={log?.records ?? []} />
        {!isLive && <span className="q-muted">Paused: what is new does not appear.</span>}
      </LookAgain>
      {fault && log && <FaultPanel fault={fault} />}
      {log && <End host={host} log={log} />}
      <DataTable
        label="Log"
        rows={log?.records}
        columns={COLUMNS}
        rowId={(r) => String(r.number)}
        rowName={(r) => r.message}
        total={log?.total}
        hasMore={log !== undefined && log.older !== ""}
        onMore={more}
        sortedByServer
        fault={log ? undefined : fault}
        onRetry={look}
        empty={
          isNarrowed ? (
            <Empty title="No such record">Nothing that {host.name} still keeps fits these words, this level and this time.</Empty>
          ) : (
            <Empty title="Nothing written down yet">What quantix-node on {host.name} does is listed here.</Empty>
          )
        }
      />
    </div>
  );
}

/** Where the log ends, and what is not in it. */
function End({ host, log }: { host: Host; log: Log }) {
  const { gone, startedAt, keptLevel } = log.last;
  return (
    <p className="q-muted">
      quantix-node on {host.name} keeps this in memory since its start <Age at={ms(startedAt)} />
      {startedAt && ` (${formatExact(timestampMs(startedAt))})`}; times are by its clock.{" "}
      {gone > 0n && `${formatCount(Number(gone), "older record")} ${gone === 1n ? "is" : "are"} gone. `}
      What is less grave than {levelStatus(keptLevel).label.toLowerCase()} is not written down. The journal of the
      host has the same, for longer.
    </p>
  );
}

function CopyLog({ records }: { records: readonly LogRecord[] }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = () => void navigator.clipboard.writeText(logText(records)).then(() => setCopied(true));
  return (
    <Button variant="secondary" size="sm" isDisabled={records.length === 0} onClick={copy}>
      {copied ? "Copied" : `Copy ${formatCount(records.length, "record")}`}
    </Button>
  );
}
