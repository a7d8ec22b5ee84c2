// Events as rows: used by the events page and the pages of the objects they tell of.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Button, FormSelect, FormSelectOption } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { faultOf, viewOf } from "../../api/fault";
import type { Event } from "../../api/gen/quantix/event/v1/event_pb";
import type { FaultDetail } from "../../api/gen/quantix/fault/v1/fault_pb";
import { useEvents } from "../../api/lists";
import { useMay } from "../../api/session";
import { FaultPanel } from "../../ui/fault";
import { Filter } from "../../ui/filter";
import { Empty } from "../../ui/parts";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { ObjectLink } from "./object-link";
import { SEVERITIES, severityStatus } from "./words";

/** A sentence, and behind it why. */
export function Told({ message, fault }: { message: string; fault: FaultDetail | undefined }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      {message}{" "}
      {fault && !open && (
        <Button variant="link" isInline size="sm" onClick={() => setOpen(true)} aria-label={`Why: ${message}`}>
          Why
        </Button>
      )}
      {fault && open && <FaultPanel fault={viewOf(fault)} onClose={() => setOpen(false)} />}
    </>
  );
}

const COLUMNS: Column<Event>[] = [
  { id: "severity", header: "Severity", cell: (e) => <Status {...severityStatus(e.severity)} />, width: "120px" },
  { id: "at", header: "When", cell: (e) => <Age at={e.at ? timestampMs(e.at) : undefined} />, width: "140px" },
  { id: "what", header: "What", cell: (e) => <Told message={e.message} fault={e.fault} /> },
  { id: "object", header: "Object", cell: (e) => <ObjectLink kind={e.objectKind} id={e.objectId} name={e.objectName} /> },
  { id: "host", header: "Host", cell: (e) => <span className="q-nowrap">{e.host || "–"}</span> },
  { id: "user", header: "By", cell: (e) => e.userName || "–" },
];

interface Chosen {
  filter: string;
  severity: string;
}

/** `objectId`: only what is told of that object. */
export function EventTable({ objectId = "", filter, severity, onChange }: { objectId?: string; onChange: (chosen: Chosen) => void } & Chosen) {
  const wire = SEVERITIES.find((s) => s.value === severity)?.wire ?? SEVERITIES[0].wire;
  const list = useEvents(filter, objectId, wire);
  const may = useMay();
  const narrowed = filter !== "" || severity !== "";
  return (
    <>
      <div className="q-toolbar">
        <Filter label="Filter events by words" value={filter} onChange={(q) => onChange({ filter: q, severity })} />
        <div>
          <FormSelect aria-label="Severity" value={severity} onChange={(_, s) => onChange({ filter, severity: s })}>
            {SEVERITIES.map((s) => (
              <FormSelectOption key={s.value} value={s.value} label={s.label} />
            ))}
          </FormSelect>
        </div>
        {objectId && may("audit.view") && (
          <Link to="/audit" search={{ object: objectId }}>
            Who did what here
          </Link>
        )}
      </div>
      <DataTable
        label="Events"
        rows={list.rows}
        columns={objectId ? COLUMNS.filter((c) => c.id !== "object") : COLUMNS}
        rowId={(e) => e.id}
        rowName={(e) => e.message}
        total={list.total}
        hasMore={list.hasMore}
        onMore={list.more}
        sortedByServer
        fault={list.error ? faultOf(list.error) : undefined}
        onRetry={list.again}
        empty={
          narrowed ? (
            <Empty title="No such event">Nothing that happened has these words and this severity.</Empty>
          ) : (
            <Empty title="No event yet">What happens to hosts, pools and VMs is listed here and kept.</Empty>
          )
        }
      />
    </>
  );
}

/** The same within an object's page, with a choice of its own. */
export function ObjectEvents({ objectId }: { objectId: string }) {
  const [chosen, setChosen] = useState<Chosen>({ filter: "", severity: "" });
  return <EventTable objectId={objectId} {...chosen} onChange={setChosen} />;
}
