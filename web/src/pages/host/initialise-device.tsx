// A disk becomes a pool: what will be destroyed, the name typed when something will be, then the task to its end.
import { useQuery } from "@connectrpc/connect-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useApi, useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import { HostService, type BlockDevice, type Host, type InitialiseDeviceResponse } from "../../api/gen/quantix/host/v1/host_pb";
import { TaskService, TaskState } from "../../api/gen/quantix/task/v1/task_pb";
import { Dialog } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { TextField } from "../../ui/field";
import { Loading } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { Status } from "../../ui/status";
import { isOpen, TaskProgress, taskStatus } from "../task/task-view";

export function InitialiseDevice({ host, device, onClose }: { host: Host; device: BlockDevice; onClose: () => void }) {
  const client = useClient(HostService);
  const [name, setName] = useState("");
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const [begun, setBegun] = useState<InitialiseDeviceResponse>();
  const destroys = device.contents.length > 0;
  if (begun) return <Work begun={begun} name={name} device={device} onClose={onClose} />;
  const submit = async () => {
    setBusy(true);
    setFault(undefined);
    try {
      setBegun(await client.initialiseDevice({ hostId: host.id, device: device.path, fingerprint: device.fingerprint, erase: destroys, poolName: name }));
    } catch (error) {
      setFault(faultOf(error));
      setBusy(false);
    }
  };
  return (
    <Dialog
      title={`Initialise ${device.path} of ${host.name} as pool`}
      note={`${formatBytes(device.sizeBytes)} ${[device.model, device.serial].filter((text) => text !== "").join(", ")}`}
      submit={destroys ? "Erase and initialise" : "Initialise"}
      danger={destroys}
      busy={busy}
      disabled={name === "" || (destroys && typed !== device.path)}
      fault={fault}
      onSubmit={() => void submit()}
      onClose={onClose}
    >
      <TextField label="Pool name" help="1 to 63 of a-z, 0-9 and -" value={name} onChange={(_, v) => setName(v)} autoComplete="off" autoFocus />
      {destroys ? (
        <div>
          <p>All of this is destroyed, and cannot be brought back:</p>
          <ul aria-label="What is on the disk" className="q-list">
            {device.contents.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </div>
      ) : (
        <p>Nothing is on the disk.</p>
      )}
      <p className="q-muted">
        The whole disk gets a GPT with one partition and an XFS file system. {host.name} mounts it by its UUID, also after a restart. Nothing else can use the disk
        then.
      </p>
      {destroys && (
        <TextField label={`Type ${device.path} to confirm`} value={typed} onChange={(_, v) => setTyped(v)} className="q-mono" autoComplete="off" spellCheck={false} />
      )}
    </Dialog>
  );
}

function Work(props: { begun: InitialiseDeviceResponse; name: string; device: BlockDevice; onClose: () => void }) {
  const { begun, name, device, onClose } = props;
  const { queries } = useApi();
  // The watch line tells of each step; asking is for a line that broke.
  const query = useQuery(TaskService.method.getTask, { id: begun.taskId }, { refetchInterval: (q) => (q.state.data && !isOpen(q.state.data) ? false : 2000) });
  const task = query.data;
  const close = () => {
    void queries.invalidateQueries();
    onClose();
  };
  return (
    <Dialog title={`Pool ${name} on ${device.path}`} note="You may close this: the work goes on, and the tasks bar tells how it ends." closeLabel="Close" onClose={close}>
      {!task && !query.error && <Loading label="the task" lines={2} />}
      {query.error && <FaultPanel fault={faultOf(query.error)} />}
      {task && (
        <>
          <Status {...taskStatus(task)} />
          <TaskProgress task={task} />
          {task.fault && <FaultPanel fault={viewOf(task.fault)} />}
          {task.state === TaskState.DONE && (
            <Link to="/pools/$id" params={{ id: begun.poolId }}>
              Open pool {name}
            </Link>
          )}
        </>
      )}
    </Dialog>
  );
}
