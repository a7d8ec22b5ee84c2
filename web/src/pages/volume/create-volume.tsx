// Create volume: blank or from an image.
import { zodResolver } from "@hookform/resolvers/zod";
import { useState } from "react";
import { Checkbox } from "@patternfly/react-core";
import { Controller, useForm, type UseFormReturn } from "react-hook-form";
import { z } from "../../ui/rules";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { ImageFormat, ImagePhase } from "../../api/gen/quantix/image/v1/image_pb";
import { VolumeAllocation, VolumeFormat, VolumeService } from "../../api/gen/quantix/volume/v1/volume_pb";
import { useImages, usePools } from "../../api/lists";
import { Dialog } from "../../ui/dialog";
import type { FaultView } from "../../ui/fault";
import { SelectField, TextField } from "../../ui/field";
import { formatBytes, GIB } from "../../ui/quantity";
import { poolOption } from "../pool/words";

const schema = z.object({
  name: z.string().trim().min(1, "A name is needed.").max(128, "128 characters at most."),
  poolId: z.string().min(1, "Choose a pool."),
  sizeGib: z.coerce.number<string>().positive("Enter a size above 0."),
  format: z.enum(["qcow2", "raw"]),
  imageId: z.string(),
  thick: z.boolean(),
  linked: z.boolean(),
});
type Input = z.input<typeof schema>;
type Values = z.output<typeof schema>;

export function CreateVolumeDialog({ onClose }: { onClose: () => void }) {
  const { queries } = useApi();
  const client = useClient(VolumeService);
  const pools = usePools().rows;
  const images = useImages().rows;
  const [fault, setFault] = useState<FaultView>();
  const form = useForm<Input, unknown, Values>({
    resolver: zodResolver(schema),
    defaultValues: { name: "", poolId: "", sizeGib: "20", format: "qcow2", imageId: "", thick: false, linked: false },
  });
  const { errors, isSubmitting } = form.formState;
  const poolId = form.watch("poolId") || (pools?.length === 1 ? (pools[0]?.id ?? "") : "");
  if (poolId !== form.getValues("poolId")) form.setValue("poolId", poolId);
  const can = pools?.find((p) => p.id === poolId)?.capabilities;
  const formats = can?.formats.length ? can.formats : [VolumeFormat.QCOW2, VolumeFormat.RAW];
  const format = form.watch("format") === "raw" ? VolumeFormat.RAW : VolumeFormat.QCOW2;
  if (!formats.includes(format)) form.setValue("format", formats[0] === VolumeFormat.RAW ? "raw" : "qcow2");
  const usable = images?.filter((i) => i.poolId === poolId && i.phase === ImagePhase.READY && i.format !== ImageFormat.ISO) ?? [];
  const submit = form.handleSubmit(async (v) => {
    setFault(undefined);
    try {
      await client.createVolume({
        name: v.name,
        poolId: v.poolId,
        sizeBytes: BigInt(Math.round(v.sizeGib * GIB)),
        format: v.format === "raw" ? VolumeFormat.RAW : VolumeFormat.QCOW2,
        imageId: v.imageId,
        allocation: v.thick && can?.thick ? VolumeAllocation.THICK : VolumeAllocation.THIN,
        linked: v.linked && v.imageId !== "" && can?.clones === true,
      });
      await queries.invalidateQueries();
      onClose();
    } catch (error) {
      setFault(faultOf(error));
    }
  });
  return (
    <Dialog title="Create volume" size="small" submit="Create volume" busy={isSubmitting} fault={fault} onSubmit={() => void submit()} onClose={onClose}>
      <TextField label="Name" error={errors.name?.message} autoFocus autoComplete="off" {...form.register("name")} />
      <Controller
        control={form.control}
        name="poolId"
        render={({ field }) => (
          <SelectField
            label="Pool"
            error={errors.poolId?.message}
            value={field.value}
            onChange={field.onChange}
            options={[
              { value: "", label: pools?.length === 0 ? "No pool yet" : "Choose a pool", disabled: true },
              ...(pools ?? []).map((p) => poolOption(p, "create_volume")),
            ]}
          />
        )}
      />
      <Controller
        control={form.control}
        name="imageId"
        render={({ field }) => (
          <SelectField
            label="Contents"
            value={field.value}
            onChange={field.onChange}
            options={[{ value: "", label: "Blank" }, ...usable.map((i) => ({ value: i.id, label: `Copy of ${i.name} (${formatBytes(i.virtualSizeBytes)})` }))]}
          />
        )}
      />
      <div className="q-row">
        <TextField label="Size in GiB" type="number" min={1} step="any" error={errors.sizeGib?.message} {...form.register("sizeGib")} />
        <Controller
          control={form.control}
          name="format"
          render={({ field }) => (
            <SelectField
              label="Format"
              value={field.value}
              onChange={field.onChange}
              options={[
                { value: "qcow2", label: formats.includes(VolumeFormat.QCOW2) ? "qcow2" : "qcow2 (not in this pool)", disabled: !formats.includes(VolumeFormat.QCOW2) },
                { value: "raw", label: formats.includes(VolumeFormat.RAW) ? "raw" : "raw (not in this pool)", disabled: !formats.includes(VolumeFormat.RAW) },
              ]}
            />
          )}
        />
      </div>
      {can?.thick && <Tick form={form} name="thick" label="Reserve all space now (thick)" note="Never runs out of space later; takes its full size from the pool at once." />}
      {can?.clones && form.watch("imageId") !== "" && (
        <Tick form={form} name="linked" label="Linked: share what is the same with the image" note="Ready at once and takes little space; the image must then stay." />
      )}
    </Dialog>
  );
}

function Tick({ form, name, label, note }: { form: UseFormReturn<Input, unknown, Values>; name: "thick" | "linked"; label: string; note: string }) {
  return (
    <Controller
      control={form.control}
      name={name}
      render={({ field }) => <Checkbox id={`volume-${name}`} label={label} description={note} isChecked={field.value} onChange={(_, on) => field.onChange(on)} />}
    />
  );
}
