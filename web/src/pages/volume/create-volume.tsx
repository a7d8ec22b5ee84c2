// Create volume: blank or from an image.
import { zodResolver } from "@hookform/resolvers/zod";
import { useState } from "react";
import { Checkbox } from "@patternfly/react-core";
import { Controller, useForm, type UseFormReturn } from "react-hook-form";
import { z } from "../../ui/rules";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import type { Image } from "../../api/gen/quantix/image/v1/image_pb";
import type { Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { VolumeAllocation, VolumeFormat, VolumeService } from "../../api/gen/quantix/volume/v1/volume_pb";
import { usePools } from "../../api/lists";
import { ImageSelect, PoolSelect } from "../../shell/object-select";
import { Dialog } from "../../ui/dialog";
import type { FaultView } from "../../ui/fault";
import { SelectField, TextField } from "../../ui/field";
import { GIB } from "../../ui/quantity";
import type { Choice } from "../../ui/search-select";
import { imageNote, unlessDiskImage } from "../image/words";
import { poolNote, unlessPool } from "../pool/words";

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
  const [fault, setFault] = useState<FaultView>();
  const form = useForm<Input, unknown, Values>({
    resolver: zodResolver(schema),
    defaultValues: { name: "", poolId: "", sizeGib: "20", format: "qcow2", imageId: "", thick: false, linked: false },
  });
  const { errors, isSubmitting } = form.formState;
  /** Null: what was chosen is taken back. */
  const [picked, setPicked] = useState<Pool | null>();
  const [image, setImage] = useState<Choice>();
  // Of one there is nothing to choose.
  const only = pools?.length === 1 && pools[0] && !unlessPool("create_volume")(pools[0]) ? pools[0] : undefined;
  const pool = picked === undefined ? only : (picked ?? undefined);
  const poolId = pool?.id ?? "";
  if (poolId !== form.getValues("poolId")) form.setValue("poolId", poolId, { shouldValidate: form.formState.isSubmitted });
  const take = (chosen: Choice | undefined) => {
    setImage(chosen);
    form.setValue("imageId", chosen?.id ?? "");
  };
  const can = pool?.capabilities;
  const formats = can?.formats.length ? can.formats : [VolumeFormat.QCOW2, VolumeFormat.RAW];
  const format = form.watch("format") === "raw" ? VolumeFormat.RAW : VolumeFormat.QCOW2;
  if (!formats.includes(format)) form.setValue("format", formats[0] === VolumeFormat.RAW ? "raw" : "qcow2");
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
      <PoolSelect
        label="Pool"
        error={errors.poolId?.message}
        value={pool}
        note={poolNote}
        unless={unlessPool("create_volume")}
        onChange={(_, row) => {
          setPicked(row ?? null);
          take(undefined);
        }}
      />
      <ImageSelect
        label="Contents"
        empty="Blank"
        help={image ? "A copy of the image." : undefined}
        value={image}
        note={imageNote}
        unless={(i) => unlessDiskImage(i) ?? elsewhere(i, pool)}
        onChange={take}
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

/** A copy lies where its image lies. */
function elsewhere(image: Image, pool: Pool | undefined): string | undefined {
  if (!pool) return "choose a pool first";
  return image.poolId === pool.id ? undefined : `in pool ${image.pool}, not in ${pool.name}`;
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
