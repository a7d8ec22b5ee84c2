// Create VM: one form; which hosts could take it is asked while it is filled in.
import { Button, Checkbox } from "@patternfly/react-core";
import { zodResolver } from "@hookform/resolvers/zod";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { Controller, FormProvider, useFieldArray, useForm } from "react-hook-form";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { VmService } from "../../api/gen/quantix/vm/v1/vm_pb";
import { usePools } from "../../api/lists";
import { ImageSelect } from "../../shell/object-select";
import { Dialog } from "../../ui/dialog";
import type { FaultView } from "../../ui/fault";
import { SelectField, TextField } from "../../ui/field";
import type { Choice } from "../../ui/search-select";
import { imageNote, unlessIso } from "../image/words";
import { NAME_HELP } from "../pool/pool-form";
import { unlessPool } from "../pool/words";
import { DiskFields } from "./disk-fields";
import { Placements } from "./placements";
import { BLANK_DISK, DEFAULTS, requestOf, vmRule, type VmInput, type VmValues } from "./vm-form";

export function CreateVmDialog({ onClose }: { onClose: () => void }) {
  const { queries } = useApi();
  const client = useClient(VmService);
  const navigate = useNavigate();
  const pools = usePools().rows;
  const [iso, setIso] = useState<Choice>();
  const [fault, setFault] = useState<FaultView>();
  const form = useForm<VmInput, unknown, VmValues>({ resolver: zodResolver(vmRule), defaultValues: DEFAULTS });
  const disks = useFieldArray({ control: form.control, name: "disks" });
  const { errors, isSubmitting } = form.formState;
  const submit = form.handleSubmit(async (values) => {
    setFault(undefined);
    try {
      const { vm } = await client.createVm(requestOf(values));
      await queries.invalidateQueries();
      if (vm) await navigate({ to: "/vms/$id", params: { id: vm.id }, search: values.start ? { tab: "console" } : {} });
    } catch (error) {
      setFault(faultOf(error));
    }
  });
  const only = pools?.length === 1 && pools[0] && !unlessPool("create_volume")(pools[0]) ? pools[0] : undefined;
  const addDisk = (source: "blank" | "image" | "volume") => disks.append({ ...BLANK_DISK, source, poolId: only?.id ?? "" });
  return (
    <Dialog title="Create VM" size="medium" submit="Create VM" busy={isSubmitting} fault={fault} onSubmit={() => void submit()} onClose={onClose}>
      <FormProvider {...form}>
        <TextField label="Name" help={NAME_HELP} error={errors.name?.message} autoFocus autoComplete="off" {...form.register("name")} />
        <div className="q-row">
          <TextField label="vCPUs" type="number" min={1} error={errors.vcpus?.message} {...form.register("vcpus")} />
          <TextField label="Memory in GiB" type="number" min={0} step="any" error={errors.memoryGib?.message} {...form.register("memoryGib")} />
          <Controller
            control={form.control}
            name="firmware"
            render={({ field }) => (
              <SelectField
                label="Firmware"
                value={field.value}
                onChange={field.onChange}
                options={[
                  { value: "bios", label: "BIOS" },
                  { value: "uefi", label: "UEFI" },
                ]}
              />
            )}
          />
        </div>
        <fieldset className="q-part-box">
          <legend>Disks</legend>
          {disks.fields.length === 0 && <p className="q-muted">No disk. A VM without a disk can start from an ISO only.</p>}
          {disks.fields.map((field, i) => (
            <DiskFields key={field.id} index={i} pool={only} onRemove={() => disks.remove(i)} />
          ))}
          <div className="q-actions">
            <Button variant="secondary" size="sm" onClick={() => addDisk("image")}>
              Add disk from image
            </Button>
            <Button variant="secondary" size="sm" onClick={() => addDisk("blank")}>
              Add blank disk
            </Button>
            <Button variant="link" size="sm" onClick={() => addDisk("volume")}>
              Attach a volume
            </Button>
          </div>
        </fieldset>
        <ImageSelect
          label="ISO in the drive"
          empty="None"
          value={iso}
          note={imageNote}
          unless={unlessIso}
          onChange={(chosen) => {
            setIso(chosen);
            form.setValue("cdromImageId", chosen?.id ?? "");
          }}
        />
        <Placements />
        <Controller
          control={form.control}
          name="network"
          render={({ field }) => (
            <Checkbox id="vm-network" label="Network card" description="NAT by QEMU: the guest reaches out, nobody reaches in." isChecked={field.value} onChange={(_, on) => field.onChange(on)} />
          )}
        />
        <Controller
          control={form.control}
          name="start"
          render={({ field }) => (
            <Checkbox id="vm-start" label="Start it after creation" description="Its screen opens in the page." isChecked={field.value} onChange={(_, on) => field.onChange(on)} />
          )}
        />
      </FormProvider>
    </Dialog>
  );
}
