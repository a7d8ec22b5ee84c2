// The disks of a host: what is on each, whether it can become a pool and why not.
import { useQuery } from "@connectrpc/connect-query";
import { useState } from "react";
import { faultOf } from "../../api/fault";
import { DeviceKind, HostService, type BlockDevice, type Host } from "../../api/gen/quantix/host/v1/host_pb";
import { FaultPanel } from "../../ui/fault";
import { LookAgain } from "../../ui/look-again";
import { ActionButton, allowedOf } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { DataTable, type Column } from "../../ui/table";
import { InitialiseDevice } from "./initialise-device";
import { ms } from "./words";

function kindName(device: BlockDevice): string {
  const kind = device.kind === DeviceKind.NVME ? "NVMe" : device.kind === DeviceKind.HDD ? "HDD" : "SSD";
  const bus = device.transport !== "" && device.transport !== "nvme" ? `, ${device.transport}` : "";
  return `${kind}${bus}${device.removable ? ", removable" : ""}`;
}

export function HostDisks({ host }: { host: Host }) {
  const query = useQuery(HostService.method.listDevices, { hostId: host.id }, { staleTime: 0 });
  const [chosen, setChosen] = useState<BlockDevice>();
  const columns: Column<BlockDevice>[] = [
    { id: "path", header: "Disk", cell: (d) => <span className="q-mono">{d.path}</span>, sort: (d) => d.path },
    { id: "model", header: "Model", cell: (d) => d.model || "not told" },
    { id: "serial", header: "Serial", cell: (d) => <span className="q-mono">{d.serial || "not told"}</span> },
    { id: "kind", header: "Kind", cell: kindName },
    { id: "contents", header: "What is on it", cell: (d) => <Contents device={d} /> },
    { id: "size", header: "Size", numeric: true, cell: (d) => formatBytes(d.sizeBytes), sort: (d) => d.sizeBytes },
    {
      id: "use",
      header: "Use",
      cell: (d) => (
        <>
          <ActionButton action={allowedOf(d.allowedActions, "initialise")} onClick={() => setChosen(d)}>
            Initialise as pool…
          </ActionButton>
          {d.refusedBecause !== "" && <span className="q-table__sub">{d.refusedBecause}</span>}
        </>
      ),
    },
  ];
  const fault = query.error ? faultOf(query.error) : undefined;
  return (
    <div className="q-stack">
      <LookAgain busy={query.isFetching} onLook={() => void query.refetch()} said={`${host.name} looked`} at={ms(query.data?.observedAt)} />
      {fault && query.data && <FaultPanel fault={fault} />}
      <DataTable
        label="Disks"
        rows={query.data?.devices}
        columns={columns}
        rowId={(d) => d.path}
        rowName={(d) => d.path}
        fault={query.data ? undefined : fault}
        onRetry={() => void query.refetch()}
        empty={<p className="q-muted">The host has no disk of its own.</p>}
      />
      {chosen && <InitialiseDevice host={host} device={chosen} onClose={() => setChosen(undefined)} />}
    </div>
  );
}

function Contents({ device }: { device: BlockDevice }) {
  if (device.contents.length === 0) return <span className="q-muted">{device.fingerprint === "" ? "not known" : "nothing"}</span>;
  const [first, ...rest] = device.contents;
  return (
    <>
      {first}
      {rest.map((line) => (
        <span key={line} className="q-table__sub">
          {line}
        </span>
      ))}
    </>
  );
}
