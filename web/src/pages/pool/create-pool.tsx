// Create pool: a directory on one host.
import { zodResolver } from "@hookform/resolvers/zod";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { Controller, useForm } from "react-hook-form";
import { z } from "../../ui/rules";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { PoolService } from "../../api/gen/quantix/pool/v1/pool_pb";
import { useHosts } from "../../api/lists";
import { Dialog } from "../../ui/dialog";
import type { FaultView } from "../../ui/fault";
import { SelectField, TextField } from "../../ui/field";
import { Empty } from "../../ui/parts";
import { hostStatus } from "../host/words";

export const NAME_HELP = "1 to 63 of a-z, 0-9 and -";
export const nameRule = z
  .string()
  .min(1, "A name is needed.")
  .max(63, "63 characters at most.")
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, "Use a-z, 0-9 and -, starting and ending with a letter or digit.");

const schema = z.object({
  name: nameRule,
  path: z.string().regex(/^\/./, "Enter an absolute path, such as /srv/quantix."),
  hostId: z.string().min(1, "Choose a host."),
});
type Values = z.infer<typeof schema>;

export function CreatePoolDialog({ onClose }: { onClose: () => void }) {
  const { queries } = useApi();
  const client = useClient(PoolService);
  const navigate = useNavigate();
  const hosts = useHosts().rows;
  const [fault, setFault] = useState<FaultView>();
  const only = hosts?.length === 1 ? hosts[0]?.id : undefined;
  const form = useForm<Values>({
    resolver: zodResolver(schema),
    defaultValues: { name: "", path: "", hostId: "" },
    values: only ? { name: "", path: "", hostId: only } : undefined,
    resetOptions: { keepDirtyValues: true },
  });
  const { errors, isSubmitting } = form.formState;
  const submit = form.handleSubmit(async (v) => {
    setFault(undefined);
    try {
      const { pool } = await client.createPool({
        name: v.name,
        spec: { backend: { case: "local", value: { path: v.path } } },
        hostIds: [v.hostId],
      });
      await queries.invalidateQueries();
      if (pool) await navigate({ to: "/pools/$id", params: { id: pool.id } });
      else onClose();
    } catch (error) {
      setFault(faultOf(error));
    }
  });
  if (hosts?.length === 0) {
    return (
      <Dialog title="Create pool" onClose={onClose} submit="Add host" onSubmit={() => void navigate({ to: "/hosts", search: { new: true } })}>
        <Empty title="No host yet">A pool lies on a host: add one first.</Empty>
      </Dialog>
    );
  }
  return (
    <Dialog
      title="Create pool"
      note="A directory on one host, for disks and images."
      size="small"
      submit="Create pool"
      busy={isSubmitting}
      fault={fault}
      onSubmit={() => void submit()}
      onClose={onClose}
    >
      <TextField label="Name" help={NAME_HELP} error={errors.name?.message} autoFocus autoComplete="off" {...form.register("name")} />
      <Controller
        control={form.control}
        name="hostId"
        render={({ field }) => (
          <SelectField
            label="Host"
            error={errors.hostId?.message}
            value={field.value}
            onChange={field.onChange}
            options={[
              { value: "", label: hosts ? "Choose a host" : "Loading hosts…", disabled: true },
              ...(hosts ?? []).map((h) => ({ value: h.id, label: `${h.name} (${hostStatus(h).label.toLowerCase()})` })),
            ]}
          />
        )}
      />
      <TextField
        label="Path on the host"
        help="Absolute. It is made if its parent exists. It must not belong to another pool."
        error={errors.path?.message}
        className="q-mono"
        placeholder="/var/lib/quantix/pools/main"
        autoComplete="off"
        spellCheck={false}
        {...form.register("path")}
      />
    </Dialog>
  );
}
