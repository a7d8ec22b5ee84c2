// All pools; what is wrong with one is said on its row.
import { Link } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import { faultOf } from "../../api/fault";
import type { Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { ORDERS, usePools } from "../../api/lists";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { Filter } from "../../ui/filter";
import { ActionButton, Empty, Meter, PageTitle } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Reported } from "../../ui/time";
import { ms } from "../host/words";
import { backendName, backendPlace, poolStatus } from "./words";

const CreatePoolDialog = lazy(() => import("./create-pool").then((m) => ({ default: m.CreatePoolDialog })));

/** A pool that a whole rack shares is told by its first hosts; the others stand in the pool's page. */
function HostNames({ names }: { names: string[] }) {
  if (names.length === 0) return <span className="q-muted">none</span>;
  const [shown, more] = names.length > 3 ? [names.slice(0, 2), names.length - 2] : [names, 0];
  return (
    <div title={more > 0 ? names.join(", ") : undefined}>
      {shown.map((name) => (
        <div key={name} className="q-nowrap">
          {name}
        </div>
      ))}
      {more > 0 && <div className="q-small">and {more.toLocaleString("en")} more</div>}
    </div>
  );
}

const COLUMNS: Column<Pool>[] = [
  {
    id: "name",
    header: "Name",
    sort: (p) => p.name,
    cell: (p) => (
      <Link to="/pools/$id" params={{ id: p.id }}>
        {p.name}
      </Link>
    ),
  },
  {
    id: "state",
    header: "State",
    sort: (p) => p.phase,
    cell: (p) => (
      <>
        <Status {...poolStatus(p)} />
        {p.fault && (
          <div className="q-table__sub">
            {p.fault.host ? `${p.fault.host}: ` : ""}
            {p.fault.message}
            {p.fault.cause && <span className="q-mono"> {p.fault.cause}</span>}
          </div>
        )}
      </>
    ),
  },
  { id: "kind", header: "Kind", sort: backendName, cell: (p) => <span className="q-nowrap">{backendName(p)}</span> },
  { id: "place", header: "Place", width: "180px", cell: (p) => <span className="q-mono">{backendPlace(p)}</span> },
  { id: "hosts", header: "Hosts", cell: (p) => <HostNames names={p.hostStatuses.map((s) => s.host)} /> },
  {
    id: "capacity",
    header: "Used",
    width: "200px",
    sort: (p) => p.capacity?.usedBytes ?? 0n,
    cell: (p) => <PoolCapacity pool={p} />,
  },
  { id: "volumes", header: "Volumes", numeric: true, sort: (p) => p.volumeCount, cell: (p) => p.volumeCount },
  { id: "images", header: "Images", numeric: true, sort: (p) => p.imageCount, cell: (p) => p.imageCount },
];

export function PoolCapacity({ pool }: { pool: Pool }) {
  const c = pool.capacity;
  // What only silent hosts have said is not known any more.
  if (!c) return <span className="q-muted">{pool.hostStatuses.some((s) => s.observedAt) ? "unknown" : "not reported yet"}</span>;
  return (
    <Reported at={ms(c.observedAt)} silent={false} staleAfterMs={90_000}>
      <Meter
        label={`Space of ${pool.name}`}
        used={Number(c.usedBytes)}
        total={Number(c.totalBytes)}
        text={`${formatBytes(c.usedBytes)} of ${formatBytes(c.totalBytes)}`}
      />
    </Reported>
  );
}

export function PoolsPage() {
  const page = usePageState();
  const create = useRight()("pool.manage");
  const pools = usePools(page);
  return (
    <>
      <PageTitle
        title="Pools"
        actions={
          <ActionButton variant="primary" action={create} onClick={page.openCreate}>
            Create pool
          </ActionButton>
        }
      />
      {(page.filter !== "" || (pools.rows?.length ?? 0) > 0) && (
        <div className="q-toolbar">
          <Filter label="Filter pools by name" value={page.filter} onChange={page.setFilter} />
        </div>
      )}
      <DataTable
        label="Pools"
        rows={pools.rows}
        columns={COLUMNS}
        rowId={(p) => p.id}
        rowName={(p) => p.name}
        sort={page.sort}
        onSort={page.setSort}
        orders={ORDERS.pools}
        total={pools.total}
        hasMore={pools.hasMore}
        onMore={pools.more}
        fault={pools.error ? faultOf(pools.error) : undefined}
        onRetry={pools.again}
        empty={
          page.filter ? (
            <Empty title={`No pool has "${page.filter}" in its name`} />
          ) : (
            <Empty title="No pool yet" action={<ActionButton isLarge variant="primary" action={create} onClick={page.openCreate}>Create pool</ActionButton>}>
              A pool is a place for disks and images, present on some hosts. VMs need one.
            </Empty>
          )
        }
      />
      {page.isCreating && create.allowed && (
        <Suspense>
          <CreatePoolDialog onClose={page.closeCreate} />
        </Suspense>
      )}
    </>
  );
}
