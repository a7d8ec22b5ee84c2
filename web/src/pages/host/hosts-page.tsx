// All hosts.
import { Link } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import { faultOf } from "../../api/fault";
import type { Host } from "../../api/gen/quantix/host/v1/host_pb";
import { ORDERS, useHosts } from "../../api/lists";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { Filter } from "../../ui/filter";
import { ActionButton, Empty, Loading, Meter, PageTitle } from "../../ui/parts";
import { formatBytes, formatRatio } from "../../ui/quantity";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Tabs } from "../../ui/tabs";
import { Age } from "../../ui/time";
import { acceleratorName, hostStatus, isSilent, ms } from "./words";

const AddHostDialog = lazy(() => import("./add-host").then((m) => ({ default: m.AddHostDialog })));

const JoinTokens = lazy(() => import("../join-token/join-tokens").then((m) => ({ default: m.JoinTokens })));

const TABS = [
  { id: "hosts", label: "Hosts" },
  { id: "join-tokens", label: "Join tokens" },
];

const Unknown = () => <span className="q-muted">unknown</span>;

const COLUMNS: Column<Host>[] = [
  {
    id: "name",
    header: "Name",
    sort: (h) => h.name,
    cell: (h) => (
      <Link to="/hosts/$id" params={{ id: h.id }}>
        {h.name}
      </Link>
    ),
  },
  {
    id: "state",
    header: "State",
    sort: (h) => h.phase,
    cell: (h) => (
      <>
        <Status {...hostStatus(h)} />
        {h.fault && <div className="q-table__sub">{h.fault.message}</div>}
      </>
    ),
  },
  { id: "seen", header: "Seen", sort: (h) => ms(h.observedAt) ?? 0, cell: (h) => <Age at={ms(h.observedAt)} /> },
  {
    id: "cpu",
    header: "CPU",
    numeric: true,
    sort: (h) => h.vitals?.cpuUsedRatio ?? -1,
    cell: (h) => (h.vitals && !isSilent(h) ? `${formatRatio(h.vitals.cpuUsedRatio)} of ${h.inventory?.cpu?.threads ?? "?"}` : <Unknown />),
  },
  {
    id: "memory",
    header: "Memory",
    width: "190px",
    sort: (h) => h.vitals?.memoryUsedBytes ?? 0n,
    cell: (h) =>
      h.vitals && !isSilent(h) ? (
        <Meter
          label={`Memory of ${h.name}`}
          used={Number(h.vitals.memoryUsedBytes)}
          total={Number(h.vitals.memoryTotalBytes)}
          text={`${formatBytes(h.vitals.memoryUsedBytes)} of ${formatBytes(h.vitals.memoryTotalBytes)}`}
        />
      ) : (
        <Unknown />
      ),
  },
  {
    id: "vms",
    header: "VMs running",
    numeric: true,
    sort: (h) => h.runningVmCount,
    cell: (h) => (isSilent(h) ? <Unknown /> : `${h.runningVmCount} of ${h.vmCount}`),
  },
  { id: "engine", header: "Accelerator", cell: (h) => acceleratorName(h.inventory?.engine?.accelerator) },
  { id: "version", header: "Version", sort: (h) => h.nodeVersion, cell: (h) => h.nodeVersion },
];

export function HostsPage() {
  const page = usePageState();
  const tab = page.tab === "join-tokens" ? page.tab : "hosts";
  const create = useRight()("host.manage");
  const add = (
    <ActionButton variant="primary" action={create} onClick={page.openCreate}>
      {tab === "hosts" ? "Add host" : "Create join token"}
    </ActionButton>
  );
  return (
    <>
      <PageTitle title="Hosts" actions={add} />
      <Tabs label="Hosts" tabs={TABS} active={tab} onSelect={(id) => page.setTab(id === "hosts" ? undefined : id)} />
      {tab === "hosts" ? (
        <HostList />
      ) : (
        <Suspense fallback={<Loading label="join tokens" />}>
          <JoinTokens isCreating={page.isCreating && create.allowed} onCreate={page.openCreate} onCreated={page.closeCreate} />
        </Suspense>
      )}
    </>
  );
}

function HostList() {
  const page = usePageState();
  const create = useRight()("host.manage");
  const hosts = useHosts(page);
  return (
    <>
      {(page.filter !== "" || (hosts.rows?.length ?? 0) > 0) && (
        <div className="q-toolbar">
          <Filter label="Filter hosts by name" value={page.filter} onChange={page.setFilter} />
        </div>
      )}
      <DataTable
        label="Hosts"
        rows={hosts.rows}
        columns={COLUMNS}
        rowId={(h) => h.id}
        rowName={(h) => h.name}
        sort={page.sort}
        onSort={page.setSort}
        orders={ORDERS.hosts}
        total={hosts.total}
        hasMore={hosts.hasMore}
        onMore={hosts.more}
        fault={hosts.error ? faultOf(hosts.error) : undefined}
        onRetry={hosts.again}
        empty={
          page.filter ? (
            <Empty title={`No host has "${page.filter}" in its name`} />
          ) : (
            <Empty title="No host yet" action={<ActionButton isLarge variant="primary" action={create} onClick={page.openCreate}>Add host</ActionButton>}>
              A host is a machine that runs VMs. Add one with its address and the token it shows.
            </Empty>
          )
        }
      />
      {page.isCreating && create.allowed && (
        <Suspense>
          <AddHostDialog onClose={page.closeCreate} />
        </Suspense>
      )}
    </>
  );
}
