// Create pool: what kind, where it is, and which hosts have it.
import { zodResolver } from "@hookform/resolvers/zod";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { Controller, FormProvider, useForm } from "react-hook-form";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { PoolService } from "../../api/gen/quantix/pool/v1/pool_pb";
import { useHosts } from "../../api/lists";
import { Dialog } from "../../ui/dialog";
import type { FaultView } from "../../ui/fault";
import { SelectField, TextField } from "../../ui/field";
import { Empty } from "../../ui/parts";
import { BackendFields } from "./backend-fields";
import { ManyHosts, OneHost } from "./host-choice";
import { KINDS, NAME_HELP, placeOf, POOL_DEFAULTS, poolRule, specOf, type Kind, type PoolInput, type PoolValues } from "./pool-form";

export function CreatePoolDialog({ onClose }: { onClose: () => void }) {
  const { queries } = useApi();
  const client = useClient(PoolService);
  const navigate = useNavigate();
  const list = useHosts();
  const hosts = list.rows;
  const [fault, setFault] = useState<FaultView>();
  const form = useForm<PoolInput, unknown, PoolValues>({
    resolver: zodResolver(poolRule),
    defaultValues: POOL_DEFAULTS,
    values: hosts?.length === 1 && hosts[0] ? { ...POOL_DEFAULTS, hostIds: [hosts[0].id] } : undefined,
    resetOptions: { keepDirtyValues: true },
  });
  const { errors, isSubmitting } = form.formState;
  const kind = form.watch("kind");
  const submit = form.handleSubmit(async (v) => {
    setFault(undefined);
    try {
      const { pool } = await client.createPool({ name: v.name, spec: specOf(v), hostIds: v.hostIds });
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
  const choose = (next: string) => {
    form.setValue("kind", next as Kind);
    // A local directory is on one host.
    if (next === "local") form.setValue("hostIds", hosts?.length === 1 ? form.getValues("hostIds") : []);
  };
  // The place follows the name until somebody says another one.
  const followName = () => {
    const { path } = form.formState.dirtyFields;
    if (!path) form.setValue("path", placeOf(form.getValues("name")));
  };
  return (
    <Dialog title="Create pool" note="A place for disks and images." submit="Create pool" busy={isSubmitting} fault={fault} onSubmit={() => void submit()} onClose={onClose}>
      <FormProvider {...form}>
        <div className="q-row">
          <TextField label="Name" help={NAME_HELP} error={errors.name?.message} autoFocus autoComplete="off" {...form.register("name", { onChange: followName })} />
          <SelectField label="Kind" value={kind} onChange={choose} help={KINDS.find((k) => k.value === kind)?.note} options={KINDS.map((k) => ({ value: k.value, label: k.label }))} />
        </div>
        <Controller
          control={form.control}
          name="hostIds"
          render={({ field }) =>
            kind === "local" ? (
              <OneHost only={hosts?.length === 1 ? hosts[0] : undefined} onChange={(ids) => field.onChange(ids)} error={errors.hostIds?.message} />
            ) : (
              <ManyHosts list={list} value={field.value} onChange={field.onChange} error={errors.hostIds?.message} />
            )
          }
        />
        <BackendFields />
      </FormProvider>
    </Dialog>
  );
}
