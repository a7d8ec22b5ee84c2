// One VM: power, screen, facts.
import { useQuery } from "@connectrpc/connect-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import { NicKind, PowerState, VmService, type Vm } from "../../api/gen/quantix/vm/v1/vm_pb";
import { useTasks } from "../../api/lists";
import { Crumbs } from "../../shell/crumbs";
import { usePageState } from "../../shell/page-state";
import { Confirm } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { ActionButton, allowedOf, Card, Copyable, Facts, Loading, PageTitle } from "../../ui/parts";
import { formatBytes, formatCount, formatRatio } from "../../ui/quantity";
import { Status } from "../../ui/status";
import { Tabs } from "../../ui/tabs";
import { Age, Reported } from "../../ui/time";
import { ms } from "../host/words";
import { ObjectEvents } from "../event/event-table";
import { Absent, present } from "../task/gone";
import { TaskTable } from "../task/task-table";
import { TaskProgress } from "../task/task-view";
import { VmDisks } from "./vm-disks";
import { PowerButtons } from "./vm-power";
import { firmwareName, powerStatus, vmStatus } from "./words";

const Console = lazy(() => import("./console").then((m) => ({ default: m.Console })));

const TABS = [
  { id: "overview", label: "Overview" },
  { id: "console", label: "Console" },
  { id: "disks", label: "Disks" },
  { id: "tasks", label: "Tasks" },
  { id: "events", label: "Events" },
];

export function VmPage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const page = usePageState();
  const query = useQuery(VmService.method.getVm, { id });
  const [deleting, setDeleting] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const vm = present(query);
  if (!vm) return <Absent noun="VM" id={id} query={query} to="/vms" />;
  const tab = page.tab ?? "overview";
  return (
    <>
      <Crumbs parent="VMs" to="/vms" here={vm.name} />
      <PageTitle
        title={vm.name}
        status={vmStatus(vm)}
        note={
          <>
            {vm.powerState === PowerState.UNKNOWN && vm.observedAt ? (
              <>unknown, last seen <Age at={ms(vm.observedAt)} /></>
            ) : (
              vm.powerSince && <>since <Age at={ms(vm.powerSince)} /></>
            )}
            {vm.hostId && (
              <>
                {" on "}
                <Link to="/hosts/$id" params={{ id: vm.hostId }}>
                  {vm.host}
                </Link>
              </>
            )}
          </>
        }
        actions={
          <>
            <PowerButtons vm={vm} onFault={setFault} />
            <ActionButton variant="danger" action={allowedOf(vm.allowedActions, "delete")} onClick={() => setDeleting(true)}>
              Delete
            </ActionButton>
          </>
        }
      />
      {(fault || vm.fault || vm.hostFault) && (
        <div className="q-stack" style={{ marginBottom: 16 }}>
          {fault && <FaultPanel fault={fault} onClose={() => setFault(undefined)} />}
          {vm.fault && <FaultPanel fault={viewOf(vm.fault)} />}
          {vm.hostFault && (
            <FaultPanel
              fault={viewOf(vm.hostFault)}
              since={
                <>
                  <Age at={ms(vm.hostFaultSince)} />, last reported <Age at={ms(vm.observedAt)} />
                </>
              }
            />
          )}
        </div>
      )}
      {vm.taskId !== "" && <Working vm={vm} />}
      <Tabs label="VM" tabs={TABS} active={tab} onSelect={(t) => page.setTab(t === "overview" ? undefined : t)} />
      {tab === "overview" && <Overview vm={vm} />}
      {tab === "console" && (
        <Suspense fallback={<Loading label="console" />}>
          <Console vm={vm} />
        </Suspense>
      )}
      {tab === "disks" && <VmDisks vm={vm} />}
      {tab === "tasks" && <VmTasks id={vm.id} />}
      {tab === "events" && <ObjectEvents objectId={vm.id} />}
      {deleting && <DeleteVm vm={vm} onClose={() => setDeleting(false)} />}
    </>
  );
}

/** The task at work on this VM. */
function Working({ vm }: { vm: Vm }) {
  const task = useTasks({ objectId: vm.id }).rows?.find((t) => t.id === vm.taskId);
  if (!task) return null;
  return (
    <div className="q-working" role="status">
      <span>{task.title}</span>
      <TaskProgress task={task} />
    </div>
  );
}

function Overview({ vm }: { vm: Vm }) {
  const silent = vm.powerState === PowerState.UNKNOWN;
  const at = ms(vm.observedAt);
  const spec = vm.spec;
  return (
    <div className="q-cards">
      <div className="q-stack">
        <Card title="Now">
          <Facts
            rows={[
              ["Power", silent ? <Reported key="p" at={at} silent>{vm.powerReason || "reported"}</Reported> : <Status key="p" {...powerStatus(vm.powerState)} />],
              ["Last change", vm.powerReason ? <>{vm.powerReason}{vm.powerSince && <>, <Age at={ms(vm.powerSince)} /></>}</> : ""],
              ["CPU used", vm.cpuUsedRatio === undefined ? "" : <Reported key="c" at={at} silent={silent}>{formatRatio(vm.cpuUsedRatio)}</Reported>],
              ["Memory used", vm.memoryUsedBytes === undefined ? "" : <Reported key="m" at={at} silent={silent}>{formatBytes(vm.memoryUsedBytes)}</Reported>],
              ["Reported", <Age key="r" at={at} />],
            ]}
          />
        </Card>
        <Card title="Identity">
          <Facts
            rows={[
              ["Id", <Copyable key="i" text={vm.id} label="id" />],
              ["Description", vm.description],
              ["Created", <Age key="c" at={ms(vm.createdAt)} />],
            ]}
          />
        </Card>
      </div>
      <Card title="Made of">
        <Facts
          rows={[
            ["vCPUs", spec?.vcpus],
            ["Memory", spec ? formatBytes(spec.memoryBytes) : ""],
            ["Firmware", firmwareName(spec?.firmware)],
            ["Disks", spec ? formatCount(spec.disks.length, "disk") : ""],
            ["ISO in the drive", spec?.cdrom ? vm.cdromImage || spec.cdrom.imageId : "none"],
            [
              "Network",
              spec?.nics.length ? (
                <ul key="n" className="q-list">
                  {spec.nics.map((n) => (
                    <li key={n.mac}>
                      {n.kind === NicKind.USER ? "NAT by QEMU" : "unknown kind"} <Copyable text={n.mac} label="MAC" />
                    </li>
                  ))}
                </ul>
              ) : (
                "none"
              ),
            ],
          ]}
        />
      </Card>
    </div>
  );
}

function VmTasks({ id }: { id: string }) {
  const tasks = useTasks({ objectId: id });
  return <TaskTable label="Tasks of this VM" list={tasks} narrow />;
}

function DeleteVm({ vm, onClose }: { vm: Vm; onClose: () => void }) {
  const client = useClient(VmService);
  const navigate = useNavigate();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const run = async (deleteVolumes: boolean) => {
    setBusy(true);
    setFault(undefined);
    try {
      await client.deleteVm({ id: vm.id, deleteVolumes });
      await navigate({ to: "/vms" });
    } catch (error) {
      setFault(faultOf(error));
      setBusy(false);
    }
  };
  const disks = vm.volumes.map((v) => v.name).join(", ");
  return (
    <Confirm
      title={`Delete VM "${vm.name}"?`}
      verb="Delete VM"
      typedName={vm.name}
      busy={busy}
      fault={fault}
      option={vm.volumes.length > 0 ? { label: "Delete its disks too", note: `${disks}: all data on them is lost.` } : undefined}
      onConfirm={(both) => void run(both)}
      onClose={onClose}
    >
      <p>
        The VM is gone for good.{" "}
        {vm.volumes.length > 0 ? `${formatCount(vm.volumes.length, "disk")} (${disks}) ${vm.volumes.length === 1 ? "stays as a free volume" : "stay as free volumes"} unless you say otherwise.` : "It has no disks."}
      </p>
    </Confirm>
  );
}
