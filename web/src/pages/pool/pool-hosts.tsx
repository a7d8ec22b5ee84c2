// Who has the pool, as each host reports it; assigning and unassigning.
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { PoolHealth, PoolService, type Pool, type PoolHostStatus } from "../../api/gen/quantix/pool/v1/pool_pb";
import { HostSelect } from "../../shell/object-select";
import { Confirm, Dialog } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { ActionButton, allowedOf, Empty, Meter } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { useRun } from "../../ui/run";
import type { Choice } from "../../ui/search-select";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { hostStatus, ms } from "../host/words";
import { poolHealth } from "./words";

export function PoolHosts({ pool }: { pool: Pool }) {
  const [assigning, setAssigning] = useState(false);
  const [leaving, setLeaving] = useState<PoolHostStatus>();
  const client = useClient(PoolService);
  const again = useRun(() => {});
  const columns: Column<PoolHostStatus>[] = [
    {
      id: "host",
      header: "Host",
      cell: (s) => (
        <Link to="/hosts/$id" params={{ id: s.hostId }}>
          {s.host}
        </Link>
      ),
    },
    {
      id: "state",
      header: "State",
      cell: (s) => (
        <>
          <Status {...poolHealth(s.health)} />
          {s.isBehind && <div className="q-muted">has not yet taken the latest change</div>}
          {s.fault && (
            <div className="q-table__sub">
              {s.fault.message}
              {s.fault.cause && <div className="q-mono">{s.fault.cause}</div>}
            </div>
          )}
        </>
      ),
    },
    { id: "probe", header: "Probe", cell: (s) => s.probe || "–" },
    { id: "since", header: "Since", cell: (s) => <Age at={ms(s.since)} /> },
    { id: "age", header: "Reported", cell: (s) => <Age at={ms(s.observedAt)} /> },
    {
      id: "capacity",
      header: "Used",
      width: "190px",
      cell: (s) =>
        s.capacity ? (
          <Meter
            label={`Space on ${s.host}`}
            used={Number(s.capacity.usedBytes)}
            total={Number(s.capacity.totalBytes)}
            text={`${formatBytes(s.capacity.usedBytes)} of ${formatBytes(s.capacity.totalBytes)}`}
          />
        ) : (
          <span className="q-muted">not reported yet</span>
        ),
    },
    { id: "path", header: "Path there", cell: (s) => <span className="q-mono">{s.mountPath || "–"}</span> },
    {
      id: "facts",
      header: "Found",
      cell: (s) =>
        s.facts.length > 0 ? (
          <ul className="q-list">
            {s.facts.map((f) => (
              <li key={f.name}>
                <span className="q-muted">{f.name}</span> {f.value}
              </li>
            ))}
          </ul>
        ) : (
          <span className="q-muted">–</span>
        ),
    },
    {
      id: "action",
      header: "Actions", isHeaderHidden: true,
      cell: (s) => (
        <span className="q-nowrap">
          {s.health !== PoolHealth.HEALTHY && (
            <ActionButton variant="link" action={allowedOf(pool.allowedActions, "retry")} onClick={() => again.run(() => client.retryPool({ poolId: pool.id, hostId: s.hostId }))}>
              Try again
            </ActionButton>
          )}
          <ActionButton variant="link" action={allowedOf(pool.allowedActions, "unassign")} onClick={() => setLeaving(s)}>
            Unassign
          </ActionButton>
        </span>
      ),
    },
  ];
  return (
    <>
      <div className="q-toolbar">
        <ActionButton action={allowedOf(pool.allowedActions, "assign")} onClick={() => setAssigning(true)}>
          Assign to a host
        </ActionButton>
      </div>
      {again.fault && <FaultPanel fault={again.fault} />}
      <DataTable
        label="Hosts of this pool"
        rows={pool.hostStatuses}
        columns={columns}
        rowId={(s) => s.hostId}
        rowName={(s) => s.host}
        empty={<Empty title="On no host">Without a host nobody can reach the pool. Assign it to one.</Empty>}
      />
      {assigning && <Assign pool={pool} onClose={() => setAssigning(false)} />}
      {leaving && <Unassign pool={pool} host={leaving} onClose={() => setLeaving(undefined)} />}
    </>
  );
}

function Assign({ pool, onClose }: { pool: Pool; onClose: () => void }) {
  const client = useClient(PoolService);
  const [host, setHost] = useState<Choice>();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const run = async () => {
    setBusy(true);
    setFault(undefined);
    try {
      await client.assignPool({ poolId: pool.id, hostId: host?.id });
      onClose();
    } catch (error) {
      setFault(faultOf(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title={`Assign pool "${pool.name}"`} size="small" submit="Assign pool" busy={busy} disabled={!host} fault={fault} onSubmit={() => void run()} onClose={onClose}>
      <HostSelect
        label="Host"
        value={host}
        note={(h) => hostStatus(h).label.toLowerCase()}
        unless={(h) => (pool.hostStatuses.some((s) => s.hostId === h.id) ? "has it already" : undefined)}
        onChange={setHost}
        autoFocus
      />
    </Dialog>
  );
}

function Unassign({ pool, host, onClose }: { pool: Pool; host: PoolHostStatus; onClose: () => void }) {
  const client = useClient(PoolService);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const run = async (force: boolean) => {
    setBusy(true);
    setFault(undefined);
    try {
      await client.unassignPool({ poolId: pool.id, hostId: host.hostId, force });
      onClose();
    } catch (error) {
      setFault(faultOf(error));
      setBusy(false);
    }
  };
  return (
    <Confirm
      title={`Unassign pool "${pool.name}" from ${host.host}?`}
      verb="Unassign pool"
      busy={busy}
      fault={fault}
      option={{
        label: "Do not wait for the server or the host",
        note: "For when one of them is dead. What programs on the host wrote and the server has not yet is lost, and programs that still wait for the pool fail. A host that is away lets go when it reports again.",
      }}
      onConfirm={(force) => void run(force)}
      onClose={onClose}
    >
      <p>The host lets go of the pool; its files stay. It is refused while a VM on that host uses the pool.</p>
    </Confirm>
  );
}
