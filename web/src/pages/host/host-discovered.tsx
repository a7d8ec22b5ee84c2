// VMs the host has and nobody here knows: who made them, and whether they can be taken in.
import { useQuery } from "@connectrpc/connect-query";
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import type { Host } from "../../api/gen/quantix/host/v1/host_pb";
import { VmService, type DiscoveredVm } from "../../api/gen/quantix/vm/v1/vm_pb";
import { Confirm } from "../../ui/dialog";
import { FaultPanel } from "../../ui/fault";
import { LookAgain } from "../../ui/look-again";
import { ActionButton, allowedOf, Copyable, Empty } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { useRun } from "../../ui/run";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { powerStatus } from "../vm/words";
import { ms } from "./words";

export function HostDiscovered({ host }: { host: Host }) {
  const query = useQuery(VmService.method.listDiscoveredVms, { hostId: host.id }, { staleTime: 0 });
  const [chosen, setChosen] = useState<DiscoveredVm>();
  const columns: Column<DiscoveredVm>[] = [
    { id: "name", header: "Name", cell: (v) => v.name, sort: (v) => v.name },
    { id: "state", header: "State", cell: (v) => <Status {...powerStatus(v.powerState)} title={v.powerReason} /> },
    { id: "made", header: "Made by", cell: (v) => (v.ours ? "Quantix" : "others"), sort: (v) => String(v.ours) },
    { id: "vcpus", header: "vCPUs", numeric: true, cell: (v) => v.vcpus, sort: (v) => v.vcpus },
    { id: "memory", header: "Memory", numeric: true, cell: (v) => (v.memoryBytes > 0n ? formatBytes(v.memoryBytes) : "not told") },
    { id: "disks", header: "Disks", numeric: true, cell: (v) => (v.ours ? v.diskCount : "not told") },
    { id: "id", header: "Id", cell: (v) => <Copyable text={v.id} label="id" /> },
    {
      id: "action",
      header: "Actions",
      cell: (v) => {
        const action = allowedOf(v.allowedActions, "adopt");
        return (
          <>
            <ActionButton action={action} onClick={() => setChosen(v)}>
              Adopt…
            </ActionButton>
            {action?.reasonIfNot && <span className="q-table__sub">{action.reasonIfNot}</span>}
          </>
        );
      },
    },
  ];
  const fault = query.error ? faultOf(query.error) : undefined;
  return (
    <div className="q-stack">
      <p className="q-muted">
        VMs that {host.name} has and this vDC does not know. They go on as they are; nothing here changes them.
      </p>
      <LookAgain busy={query.isFetching} onLook={() => void query.refetch()} said={`${host.name} was asked`} at={ms(query.data?.observedAt)} />
      {query.data?.fault && <FaultPanel fault={viewOf(query.data.fault)} />}
      {fault && query.data && <FaultPanel fault={fault} />}
      <DataTable
        label="Discovered VMs"
        rows={query.data?.vms}
        columns={columns}
        rowId={(v) => v.id}
        rowName={(v) => v.name}
        fault={query.data ? undefined : fault}
        onRetry={() => void query.refetch()}
        empty={<Empty title="Nothing unknown">Every VM that {host.name} has is one of the VMs of this vDC.</Empty>}
      />
      {chosen && (
        <Adopt
          host={host}
          vm={chosen}
          onClose={() => {
            setChosen(undefined);
            void query.refetch();
          }}
        />
      )}
    </div>
  );
}

function Adopt({ host, vm, onClose }: { host: Host; vm: DiscoveredVm; onClose: () => void }) {
  const client = useClient(VmService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Confirm
      title={`Adopt ${vm.name}?`}
      verb="Adopt VM"
      danger={false}
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.adoptVm({ hostId: host.id, id: vm.id }))}
      onClose={onClose}
    >
      <p>
        It becomes a VM of this vDC as {host.name} has it: {vm.vcpus} vCPUs, {formatBytes(vm.memoryBytes)}, {vm.diskCount === 1 ? "1 disk" : `${vm.diskCount} disks`}. It
        is not stopped or changed. If another vDC manages it too, both would: make sure that none does.
      </p>
    </Confirm>
  );
}
