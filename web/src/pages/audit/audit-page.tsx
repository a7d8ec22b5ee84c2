// Who did what, from where, on what, and what came of it: newest first, filtered by the vDC.
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Button, Checkbox, TextInput } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { faultOf } from "../../api/fault";
import { AuditService, type AuditRow, type ListAuditResponse } from "../../api/gen/quantix/audit/v1/audit_pb";
import { useList } from "../../api/lists";
import type { PageSearch } from "../../router";
import { usePageState } from "../../shell/page-state";
import { Filter } from "../../ui/filter";
import { Empty, PageTitle } from "../../ui/parts";
import { formatCount } from "../../ui/quantity";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { ObjectLink } from "../event/object-link";
import { useCheck } from "./verdict";
import { actionText, actorKindText, dayOf, objectKindText } from "./words";

const EXPORT = "/api/v1/audit";
const pickRows = (answer: ListAuditResponse) => answer.rows;

function useAudit({ q = "", object = "", actor = "", failed = false, from, to }: PageSearch) {
  const first = dayOf(from)?.start;
  const end = dayOf(to)?.end;
  return useList(
    AuditService.method.listAudit,
    {
      filter: q,
      objectId: object,
      actorId: actor,
      failed,
      from: first === undefined ? undefined : timestampFromMs(first),
      to: end === undefined ? undefined : timestampFromMs(end),
    },
    pickRows,
  );
}

const COLUMNS: Column<AuditRow>[] = [
  { id: "at", header: "When", width: "120px", cell: (r) => <Age at={r.at && timestampMs(r.at)} /> },
  {
    id: "actor",
    header: "Who",
    cell: (r) => (
      <>
        {r.actorId ? (
          <Link to="/audit" search={{ actor: r.actorId }} title="Only what they did">
            {r.actorName || r.actorId}
          </Link>
        ) : (
          r.actorName || "–"
        )}
        <div className="q-small">{[actorKindText(r.actorKind), r.address].filter(Boolean).join(", ")}</div>
      </>
    ),
  },
  { id: "action", header: "What", cell: (r) => <span title={r.action}>{actionText(r.action)}</span> },
  {
    id: "object",
    header: "On what",
    cell: (r) =>
      r.objectKind === "" ? (
        <span className="q-muted">–</span>
      ) : (
        <>
          <span className="q-muted">{objectKindText(r.objectKind)}</span> <ObjectLink kind={r.objectKind} id={r.objectId} name={r.objectName} />
          {r.objectId && (
            <div className="q-small">
              <Link to="/audit" search={{ object: r.objectId }} aria-label={`only this: ${r.objectName || r.objectId}`}>
                only this
              </Link>
            </div>
          )}
        </>
      ),
  },
  {
    id: "result",
    header: "Result",
    cell: (r) =>
      r.result === "OK" ? (
        <Status tone="ok" label="OK" />
      ) : (
        <>
          <Status tone="error" label={r.result} />
          {r.detail && <div className="q-table__sub">{r.detail}</div>}
        </>
      ),
  },
];

export function AuditPage() {
  const page = usePageState();
  const { search, setSearch } = page;
  const list = useAudit(search);
  const { button, panel } = useCheck();
  const keepDays = list.first?.keepDays;
  const narrowed = Boolean(search.q || search.object || search.actor || search.failed || search.from || search.to);
  return (
    <>
      <PageTitle
        title="Audit log"
        note={keepDays ? `Rows are kept for ${formatCount(keepDays, "day")}.` : undefined}
        actions={
          <>
            {button}
            <Button component="a" variant="secondary" size="sm" href={EXPORT} {...{ download: "quantix-audit.jsonl" }} title="All rows that are kept, as lines of JSON">
              Download
            </Button>
          </>
        }
      />
      {panel && <div className="q-panel">{panel}</div>}
      <Filters search={search} onChange={setSearch} onFilter={page.setFilter} />
      <Narrowed search={search} rows={list.rows} onAll={() => setSearch({ object: undefined, actor: undefined })} />
      <DataTable
        label="Audit log"
        rows={list.rows}
        columns={COLUMNS}
        rowId={(r) => String(r.number)}
        rowName={(r) => `row ${r.number}`}
        total={list.total}
        hasMore={list.hasMore}
        onMore={list.more}
        sortedByServer
        fault={list.error ? faultOf(list.error) : undefined}
        onRetry={list.again}
        empty={
          narrowed ? (
            <Empty title="No such row">Nothing in the log fits these words, days and choices.</Empty>
          ) : (
            <Empty title="No row yet">Who signs in, changes something or is refused is written here, and cannot be changed unseen.</Empty>
          )
        }
      />
    </>
  );
}

interface FiltersProps {
  search: PageSearch;
  onChange: (part: Partial<PageSearch>) => void;
  onFilter: (text: string) => void;
}

function Filters({ search, onChange, onFilter }: FiltersProps) {
  const days = [
    { key: "from", label: "From" },
    { key: "to", label: "To" },
  ] as const;
  return (
    <div className="q-toolbar">
      <Filter label="Filter by name, address, action or result" value={search.q ?? ""} onChange={onFilter} />
      {days.map(({ key, label }) => (
        <label key={key} className="q-day">
          <span>{label}</span>
          <TextInput
            type="date"
            aria-label={`${label} day`}
            value={search[key] ?? ""}
            min={key === "to" ? search.from : undefined}
            max={key === "from" ? search.to : undefined}
            onChange={(_, day) => onChange({ [key]: day || undefined })}
          />
        </label>
      ))}
      <Checkbox id="failed" label="Failed only" isChecked={search.failed === true} onChange={(_, on) => onChange({ failed: on || undefined })} />
    </div>
  );
}

/** Says that only one person's or one object's rows are shown. */
function Narrowed({ search, rows, onAll }: { search: PageSearch; rows: AuditRow[] | undefined; onAll: () => void }) {
  if (!search.object && !search.actor) return null;
  const parts = [
    search.actor && `by ${rows?.find((r) => r.actorId === search.actor)?.actorName || search.actor}`,
    search.object && `on ${rows?.find((r) => r.objectId === search.object)?.objectName || search.object}`,
  ];
  return (
    <p className="q-toolbar">
      Only what was done {parts.filter(Boolean).join(" ")}.
      <Button variant="link" isInline onClick={onAll}>
        Show all
      </Button>
    </p>
  );
}
