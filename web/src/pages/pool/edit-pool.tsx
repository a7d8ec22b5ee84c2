// Edit pool: what can be changed while hosts and VMs use it, and what follows. The place stays: another one is another pool.
import { zodResolver } from "@hookform/resolvers/zod";
import { useState } from "react";
import { FormProvider, useForm } from "react-hook-form";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { PoolService, type Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { Dialog } from "../../ui/dialog";
import type { FaultView } from "../../ui/fault";
import { TextField } from "../../ui/field";
import { Chap, Line } from "./backend-fields";
import { editRule, inputOf, NAME_HELP, specOf, type Kind, type PoolInput, type PoolValues } from "./pool-form";

/** What happens to hosts and VMs that use the pool meanwhile. */
const FOLLOWS: Record<Kind, string> = {
  local: "Nothing changes on the host but the name.",
  nfs: "A host that has the export mounted keeps the old options until it mounts it anew: when the pool is unassigned from it and assigned again, or when the host restarts. Its row says so until then. VMs go on.",
  ceph: "VMs that run keep the monitors, user and key they were started with until they are stopped and started: keep the old key valid until then.",
  iscsi: "Hosts that are signed in stay so; they use the new portal and password when they sign in again, after a restart for example. VMs go on.",
};
const STAYS: Record<Kind, string> = {
  local: "The path stays: another folder is another pool.",
  nfs: "Server, export, version and mount point stay: VMs have files open there.",
  ceph: "The Ceph pool stays: another one is another pool.",
  iscsi: "Target, LUN and volume group stay: another LUN is another pool.",
};

export function EditPoolDialog({ pool: now, onClose }: { pool: Pool; onClose: () => void }) {
  const client = useClient(PoolService);
  // What was seen when the dialog opened: the vDC refuses when somebody else changed it since.
  const [pool] = useState(now);
  const [fault, setFault] = useState<FaultView>();
  const form = useForm<PoolInput, unknown, PoolValues>({ resolver: zodResolver(editRule), defaultValues: inputOf(pool) });
  const { errors, isSubmitting } = form.formState;
  const kind = form.getValues("kind");
  const submit = form.handleSubmit(async (v) => {
    setFault(undefined);
    try {
      // Of a local pool only the name can change.
      await client.updatePool({ id: pool.id, generation: pool.generation, name: v.name, spec: v.kind === "local" ? undefined : specOf(v) });
      onClose();
    } catch (error) {
      setFault(faultOf(error));
    }
  });
  const note = `${FOLLOWS[kind]} Hosts that are away take the change when they are back.`;
  return (
    <Dialog title={`Edit pool "${pool.name}"`} note={note} submit="Save changes" busy={isSubmitting} fault={fault} onSubmit={() => void submit()} onClose={onClose}>
      <FormProvider {...form}>
        <TextField label="Name" help={NAME_HELP} error={errors.name?.message} autoFocus autoComplete="off" {...form.register("name")} />
        {kind === "nfs" && <Line name="options" label="Mount options" optional placeholder="nconnect=4" />}
        {kind === "ceph" && (
          <>
            <Line name="monitors" label="Monitors" help="Addresses, separated by spaces or commas." />
            <div className="q-row">
              <Line name="cephUser" label="CephX user" />
              <Line name="cephKey" label="Key" secret optional help="Empty: the key stays as it is." />
            </div>
          </>
        )}
        {kind === "iscsi" && (
          <>
            <Line name="portal" label="Portal" />
            <Chap passwordHelp="Empty: the password stays as it is." />
          </>
        )}
        <p className="q-muted">{STAYS[kind]}</p>
      </FormProvider>
    </Dialog>
  );
}
