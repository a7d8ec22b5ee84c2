// All VMs, with starting and stopping of many at once.
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { faultOf } from "../../api/fault";
import { PowerState, type Vm } from "../../api/gen/quantix/vm/v1/vm_pb";
import { ORDERS, useVms } from "../../api/lists";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { Filter } from "../../ui/filter";
import { ActionButton, Empty, PageTitle } from "../../ui/parts";
import { formatBytes, formatRatio } from "../../ui/quantity";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age, Reported } from "../../ui/time";
import { ms } from "../host/words";
import { BulkPower } from "./bulk-power";
import { vmStatus } from "./words";

const CreateVmDialog = lazy(() => import("./create-vm").then((m) => ({ default: m.CreateVmDialog })));

const COLUMNS: Column<Vm>[] = [
  {
    id: "name",
    header: "Name",
    sort: (v) => v.name,
    cell: (v) => (
      <Link to="/vms/$id" params={{ id: v.id }}>
        {v.name}
      </Link>
    ),
  },
  {
    id: "state",
    header: "State",
    sort: (v) => vmStatus(v).label,
    cell: (v) => (
      <>
        <Status {...vmStatus(v)} />
        {v.powerState === PowerState.UNKNOWN && v.observedAt && (
          <div className="q-muted">
            last seen <Age at={ms(v.observedAt)} />
          </div>
        )}
        {v.fault && <div className="q-table__sub">{v.fault.message}</div>}
        {v.hostFault && <div className="q-table__sub">{v.hostFault.message}</div>}
      </>
    ),
  },
  {
    id: "host",
    header: "Host",
    sort: (v) => v.host,
    cell: (v) =>
      v.hostId ? (
        <Link to="/hosts/$id" params={{ id: v.hostId }}>
          {v.host}
        </Link>
      ) : (
        <span className="q-muted">none</span>
      ),
  },
  { id: "vcpus", header: "vCPUs", numeric: true, sort: (v) => v.spec?.vcpus ?? 0, cell: (v) => v.spec?.vcpus },
  {
    id: "cpu",
    header: "CPU used",
    numeric: true,
    sort: (v) => v.cpuUsedRatio ?? -1,
    cell: (v) =>
      v.cpuUsedRatio === undefined ? (
        <span className="q-muted">–</span>
      ) : (
        <Reported at={ms(v.observedAt)} silent={v.powerState === PowerState.UNKNOWN} staleAfterMs={90_000}>
          {formatRatio(v.cpuUsedRatio)}
        </Reported>
      ),
  },
  { id: "memory", header: "Memory", numeric: true, sort: (v) => v.spec?.memoryBytes ?? 0n, cell: (v) => formatBytes(v.spec?.memoryBytes ?? 0n) },
  { id: "disks", header: "Disks", numeric: true, sort: (v) => v.spec?.disks.length ?? 0, cell: (v) => v.spec?.disks.length ?? 0 },
  { id: "created", header: "Created", sort: (v) => ms(v.createdAt) ?? 0, cell: (v) => <Age at={ms(v.createdAt)} /> },
  { id: "since", header: "In this state", sort: (v) => ms(v.powerSince) ?? 0, cell: (v) => (v.powerSince ? <Age at={ms(v.powerSince)} /> : "–") },
];

export function VmsPage() {
  const page = usePageState();
  const create = useRight()("vm.manage");
  const vms = useVms(page);
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const picked = (vms.rows ?? []).filter((v) => selected.has(v.id));
  return (
    <>
      <PageTitle
        title="VMs"
        actions={
          <ActionButton variant="primary" action={create} onClick={page.openCreate}>
            Create VM
          </ActionButton>
        }
      />
      {(page.filter !== "" || (vms.rows?.length ?? 0) > 0) && (
        <div className="q-toolbar">
          <Filter label="Filter VMs by name" value={page.filter} onChange={page.setFilter} />
          {picked.length > 0 && <BulkPower vms={picked} onDone={() => setSelected(new Set())} />}
        </div>
      )}
      <DataTable
        label="VMs"
        rows={vms.rows}
        columns={COLUMNS}
        rowId={(v) => v.id}
        rowName={(v) => v.name}
        selected={selected}
        onSelect={setSelected}
        sort={page.sort}
        onSort={page.setSort}
        orders={ORDERS.vms}
        total={vms.total}
        hasMore={vms.hasMore}
        onMore={vms.more}
        fault={vms.error ? faultOf(vms.error) : undefined}
        onRetry={vms.again}
        empty={
          page.filter ? (
            <Empty title={`No VM has "${page.filter}" in its name`} />
          ) : (
            <Empty title="No VM yet" action={<ActionButton isLarge variant="primary" action={create} onClick={page.openCreate}>Create VM</ActionButton>}>
              A VM needs a host and a pool for its disks; an image gives it something to start.
            </Empty>
          )
        }
      />
      {page.isCreating && create.allowed && (
        <Suspense>
          <CreateVmDialog onClose={page.closeCreate} />
        </Suspense>
      )}
    </>
  );
}
