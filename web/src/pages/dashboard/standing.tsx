// How all of a kind stand, by phase, from the vDC's counts: however many there are.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Link } from "@tanstack/react-router";
import type { Summary } from "../../api/gen/quantix/system/v1/system_pb";
import { Card } from "../../ui/parts";
import { Status, type StatusView } from "../../ui/status";
import { Age } from "../../ui/time";
import { hostPhase } from "../host/words";
import { poolPhase } from "../pool/words";
import { powerStatus } from "../vm/words";

interface Row {
  view: StatusView;
  count: number;
}

export function Standing({ summary: s }: { summary: Summary }) {
  return (
    <Card
      title="How all stand"
      aside={
        <span className="q-muted">
          {s.oldestReportAt ? (
            <>
              oldest report <Age at={timestampMs(s.oldestReportAt)} />
            </>
          ) : (
            "no host reports"
          )}
        </span>
      }
    >
      <div className="q-row">
        <Kind name="Hosts" to="/hosts" rows={s.hosts.map((h) => ({ view: hostPhase(h.phase), count: h.count }))} />
        <Kind name="Pools" to="/pools" rows={s.pools.map((p) => ({ view: poolPhase(p.phase), count: p.count }))} />
        <Kind name="VMs" to="/vms" rows={s.vms.map((v) => ({ view: powerStatus(v.powerState), count: v.count }))} />
      </div>
    </Card>
  );
}

function Kind({ name, to, rows }: { name: string; to: "/hosts" | "/pools" | "/vms"; rows: Row[] }) {
  return (
    <div>
      <Link to={to}>{name}</Link>
      {rows.length === 0 && <p className="q-muted">none</p>}
      <ul className="q-list" aria-label={`${name} by state`}>
        {rows.map((r) => (
          <li key={r.view.label}>
            <Status {...r.view} />
            <span className="q-list__end">{r.count.toLocaleString("en")}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
