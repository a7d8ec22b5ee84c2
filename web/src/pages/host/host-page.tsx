// One host: what it is made of, how it does, what runs on it.
import { useQuery } from "@connectrpc/connect-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { lazy, Suspense, useState, type ReactNode } from "react";
import { useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import { HostService, type Host } from "../../api/gen/quantix/host/v1/host_pb";
import { usePools, useVms } from "../../api/lists";
import { Crumbs } from "../../shell/crumbs";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { Confirm } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { ActionButton, allowedOf, Card, Copyable, Empty, Facts, Loading, Meter, PageTitle } from "../../ui/parts";
import { formatBytes, formatCount, formatRatio } from "../../ui/quantity";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Tabs } from "../../ui/tabs";
import { Age, formatDuration, formatExact, Reported } from "../../ui/time";
import { ObjectEvents } from "../event/event-table";
import { poolHealth } from "../pool/words";
import { Absent, present } from "../task/gone";
import { vmStatus } from "../vm/words";
import { clockText, cpuText } from "./discovery";
import { acceleratorName, hostStatus, isSilent, ms } from "./words";

const TABS = [
  { id: "overview", label: "Overview" },
  { id: "hardware", label: "Hardware" },
  { id: "disks", label: "Disks" },
  { id: "discovered", label: "Discovered VMs" },
  { id: "events", label: "Events" },
  { id: "logs", label: "Logs" },
];

const HostDiscovered = lazy(() => import("./host-discovered").then((m) => ({ default: m.HostDiscovered })));
const HostDisks = lazy(() => import("./host-disks").then((m) => ({ default: m.HostDisks })));
const HostLogs = lazy(() => import("./host-logs").then((m) => ({ default: m.HostLogs })));

export function HostPage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const page = usePageState();
  const query = useQuery(HostService.method.getHost, { id });
  const [removing, setRemoving] = useState(false);
  const remove = useRight()("host.manage");
  const host = present(query);
  if (!host) return <Absent noun="host" id={id} query={query} to="/hosts" />;
  const tab = page.tab ?? "overview";
  return (
    <>
      <Crumbs parent="Hosts" to="/hosts" here={host.name} />
      <PageTitle
        title={host.name}
        status={hostStatus(host)}
        note={<>seen <Age at={ms(host.observedAt)} /></>}
        actions={
          <ActionButton variant="danger" action={remove} onClick={() => setRemoving(true)}>
            Remove host
          </ActionButton>
        }
      />
      {host.fault && (
        <div className="q-stack" style={{ marginBottom: 16 }}>
          <FaultPanel fault={viewOf(host.fault)} />
        </div>
      )}
      <Tabs label="Host" tabs={TABS} active={tab} onSelect={(t) => page.setTab(t === "overview" ? undefined : t)} />
      {tab === "hardware" && <Hardware host={host} />}
      {tab === "disks" && (
        <Suspense fallback={<Loading label="disks" />}>
          <HostDisks host={host} />
        </Suspense>
      )}
      {tab === "discovered" && (
        <Suspense fallback={<Loading label="VMs" />}>
          <HostDiscovered host={host} />
        </Suspense>
      )}
      {tab === "logs" && (
        <Suspense fallback={<Loading label="log" />}>
          <HostLogs host={host} />
        </Suspense>
      )}
      {tab === "events" && <ObjectEvents objectId={host.id} />}
      {tab === "overview" && <Overview host={host} />}
      {removing && <RemoveHost host={host} onClose={() => setRemoving(false)} />}
    </>
  );
}

function Overview({ host }: { host: Host }) {
  const silent = isSilent(host);
  const at = ms(host.observedAt);
  const stale = Number(host.beatIntervalMs) * 2 || 60_000;
  const v = host.vitals;
  const engine = host.inventory?.engine;
  const reported = (children: ReactNode) => (
    <Reported at={v || silent ? at : undefined} silent={silent} staleAfterMs={stale}>
      {children}
    </Reported>
  );
  return (
    <div className="q-cards">
      <Card title="Now">
        <Facts
          rows={[
            ["CPU used", reported(v && formatRatio(v.cpuUsedRatio))],
            [
              "Memory used",
              v && !silent ? (
                <Meter
                  key="m"
                  label="Memory used"
                  used={Number(v.memoryUsedBytes)}
                  total={Number(v.memoryTotalBytes)}
                  text={`${formatBytes(v.memoryUsedBytes)} of ${formatBytes(v.memoryTotalBytes)}`}
                />
              ) : (
                reported(v && formatBytes(v.memoryUsedBytes))
              ),
            ],
            ["Load, 1 min", reported(v?.load1m.toFixed(2))],
            ["Up for", reported(v && formatDuration(Number(v.uptimeSeconds) * 1000))],
            ["VMs", silent ? <Reported key="v" at={at} silent>{`${host.runningVmCount} of ${host.vmCount} running`}</Reported> : `${host.runningVmCount} of ${host.vmCount} running`],
          ]}
        />
      </Card>
      <Card title="Engine">
        <Facts
          rows={[
            ["Accelerator", acceleratorName(engine?.accelerator)],
            ["Why", engine?.acceleratorReason],
            ["KVM device", engine ? (engine.kvmDevicePresent ? "present" : "absent") : ""],
            ["libvirt", engine?.libvirtVersion],
            ["QEMU", engine?.qemuVersion],
          ]}
        />
        {engine?.weakness && <FaultPanel fault={viewOf(engine.weakness)} />}
        {engine?.fault && engine.fault.code !== host.fault?.code && <FaultPanel fault={viewOf(engine.fault)} />}
      </Card>
      <Card title="Identity">
        <Facts
          rows={[
            ["Address", <Copyable key="u" text={host.url} label="address" />],
            ["Id", <Copyable key="i" text={host.id} label="id" />],
            ["Version", host.nodeVersion],
            ["Added", <Age key="a" at={ms(host.addedAt)} />],
            ["Certificate until", host.certificateExpiresAt ? formatExact(ms(host.certificateExpiresAt) ?? 0) : ""],
            ["Reports every", host.beatIntervalMs ? formatDuration(Number(host.beatIntervalMs)) : ""],
            ["Clock", clockText(Number(host.clockSkewMs))],
          ]}
        />
      </Card>
      <HostPools host={host} />
      <HostVms host={host} />
    </div>
  );
}

function HostVms({ host }: { host: Host }) {
  const vms = useVms({ hostId: host.id });
  return (
    <Card title="VMs">
      {vms.rows === undefined && <Loading label="VMs" lines={2} />}
      {vms.rows?.length === 0 && <p className="q-muted">No VM is placed here.</p>}
      <ul className="q-list">
        {vms.rows?.map((vm) => (
          <li key={vm.id}>
            <Link to="/vms/$id" params={{ id: vm.id }}>
              {vm.name}
            </Link>
            <span className="q-list__end">
              <Status {...vmStatus(vm)} />
            </span>
          </li>
        ))}
      </ul>
      {vms.hasMore && <p className="q-muted">and {vms.total - (vms.rows?.length ?? 0)} more</p>}
    </Card>
  );
}

function HostPools({ host }: { host: Host }) {
  const pools = usePools({ hostId: host.id });
  const mine = pools.rows;
  return (
    <Card title="Pools">
      {mine === undefined && <Loading label="pools" lines={2} />}
      {mine?.length === 0 && <p className="q-muted">No pool is assigned to this host.</p>}
      <ul className="q-list">
        {mine?.map((pool) => {
          const status = pool.hostStatuses.find((s) => s.hostId === host.id);
          return (
            <li key={pool.id}>
              <Link to="/pools/$id" params={{ id: pool.id }}>
                {pool.name}
              </Link>
              <span className="q-list__end">{status && <Status {...poolHealth(status.health)} />}</span>
              {status?.fault && <span className="q-table__sub">{status.fault.message}</span>}
            </li>
          );
        })}
      </ul>
    </Card>
  );
}

type Row<K extends "disks" | "nics" | "pciDevices"> = NonNullable<Host["inventory"]>[K][number];

const DISKS: Column<Row<"disks">>[] = [
  { id: "name", header: "Name", cell: (d) => <span className="q-mono">{d.name}</span> },
  { id: "model", header: "Model", cell: (d) => d.model || "–" },
  { id: "serial", header: "Serial", cell: (d) => d.serial || "–" },
  { id: "kind", header: "Kind", cell: (d) => (d.rotational ? "rotating" : "solid state") },
  { id: "use", header: "Use", cell: (d) => (d.inUse ? "in use" : "free") },
  { id: "size", header: "Size", numeric: true, cell: (d) => formatBytes(d.sizeBytes) },
];
const NICS: Column<Row<"nics">>[] = [
  { id: "name", header: "Name", cell: (n) => <span className="q-mono">{n.name}</span> },
  { id: "state", header: "Link", cell: (n) => <Status tone={n.up ? "ok" : "off"} label={n.up ? "Up" : "Down"} /> },
  { id: "mac", header: "MAC", cell: (n) => <span className="q-mono">{n.mac}</span> },
  { id: "addresses", header: "Addresses", cell: (n) => <span className="q-mono">{n.addresses.join(", ") || "–"}</span> },
  { id: "speed", header: "Speed", numeric: true, cell: (n) => (n.speedMbps ? `${n.speedMbps} Mbit/s` : "not told") },
];
const PCI: Column<Row<"pciDevices">>[] = [
  { id: "address", header: "Address", cell: (p) => <span className="q-mono">{p.address}</span> },
  { id: "device", header: "Vendor and device", cell: (p) => <span className="q-mono">{p.vendorDevice}</span> },
  { id: "class", header: "Class", cell: (p) => <span className="q-mono">{p.class}</span> },
  { id: "driver", header: "Driver", cell: (p) => p.driver || "none" },
];

function Hardware({ host }: { host: Host }) {
  const d = host.inventory;
  if (!d) return <Empty title="No inventory yet">The host has not sent what it is made of.</Empty>;
  return (
    <div className="q-stack">
      <Card title="Machine">
        <Facts
          rows={[
            ["Host name", d.hostname],
            ["System", `${d.os}, kernel ${d.kernel}`],
            ["CPU", cpuText(d)],
            ["Virtualization", d.cpu?.virtualization || "none named by the CPU"],
            ["NUMA nodes", d.cpu?.numaNodes],
            ["Memory", formatBytes(d.memoryTotalBytes)],
          ]}
        />
      </Card>
      <Part title="Disks" rows={d.disks} columns={DISKS} name={(k) => k.name} />
      <Part title="Network" rows={d.nics} columns={NICS} name={(n) => n.name} />
      <Part title="PCI devices" rows={d.pciDevices} columns={PCI} name={(p) => p.address} />
    </div>
  );
}

function Part<R>({ title, rows, columns, name }: { title: string; rows: R[]; columns: Column<R>[]; name: (row: R) => string }) {
  return (
    <section aria-label={title}>
      <h2 className="q-part">{title}</h2>
      <DataTable label={title} rows={rows} columns={columns} rowId={name} rowName={name} empty={<p className="q-muted">The host named none.</p>} />
    </section>
  );
}

function RemoveHost({ host, onClose }: { host: Host; onClose: () => void }) {
  const client = useClient(HostService);
  const navigate = useNavigate();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const gentle = allowedOf(host.allowedActions, "remove");
  const remove = async (force: boolean) => {
    setBusy(true);
    setFault(undefined);
    try {
      await client.removeHost({ id: host.id, force });
      await navigate({ to: "/hosts" });
    } catch (error) {
      setFault(faultOf(error));
      setBusy(false);
    }
  };
  return (
    <Confirm
      title={`Remove host "${host.name}"?`}
      verb="Remove host"
      typedName={host.name}
      busy={busy}
      fault={fault}
      option={gentle.allowed ? undefined : { label: "Remove it all the same", note: "The vDC then forgets its VMs; on the host they go on running." }}
      onConfirm={(force) => void remove(force)}
      onClose={onClose}
    >
      <p>
        {gentle.reasonIfNot} The vDC forgets the host, and the host forgets the vDC. {formatCount(host.vmCount, "VM")} on it{" "}
        {host.vmCount === 1 ? "is" : "are"} not stopped; no file is deleted.
      </p>
    </Confirm>
  );
}
