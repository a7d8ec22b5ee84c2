// Create volume: blank or from an image.
import { zodResolver } from "@hookform/resolvers/zod";
import { useState } from "react";
import { Controller, useForm } from "react-hook-form";
import { z } from "../../ui/rules";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { ImageFormat, ImagePhase } from "../../api/gen/quantix/image/v1/image_pb";
import { VolumeFormat, VolumeService } from "../../api/gen/quantix/volume/v1/volume_pb";
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
    defaultValues: { name: "", poolId: "", sizeGib: "20", format: "qcow2", imageId: "" },
  });
  const { errors, isSubmitting } = form.formState;
  const poolId = form.watch("poolId") || (pools?.length === 1 ? (pools[0]?.id ?? "") : "");
  if (poolId !== form.getValues("poolId")) form.setValue("poolId", poolId);
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
                { value: "qcow2", label: "qcow2 (takes space as it fills)" },
                { value: "raw", label: "raw" },
              ]}
            />
          )}
        />
      </div>
    </Dialog>
  );
}
