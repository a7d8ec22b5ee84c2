// All volumes.
import { Button } from "@patternfly/react-core";
import { lazy, Suspense } from "react";
import { usePageState } from "../../shell/page-state";
import { PageTitle } from "../../ui/parts";
import { VolumeTable } from "./volume-table";

const CreateVolumeDialog = lazy(() => import("./create-volume").then((m) => ({ default: m.CreateVolumeDialog })));

export function VolumesPage() {
  const page = usePageState();
  return (
    <>
      <PageTitle
        title="Volumes"
        actions={
          <Button size="sm" onClick={page.openCreate}>
            Create volume
          </Button>
        }
      />
      <VolumeTable page={page} create={<Button onClick={page.openCreate}>Create volume</Button>} />
      {page.isCreating && (
        <Suspense>
          <CreateVolumeDialog onClose={page.closeCreate} />
        </Suspense>
      )}
    </>
  );
}
