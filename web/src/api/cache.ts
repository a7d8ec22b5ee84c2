// Patches cached answers with what the watch stream says, so that pages move without asking again.
import type { DescMethod } from "@bufbuild/protobuf";
import { createConnectQueryKey } from "@connectrpc/connect-query";
import type { InfiniteData, QueryClient } from "@tanstack/react-query";
import { AlertService } from "./gen/quantix/alert/v1/alert_pb";
import { CertificateService } from "./gen/quantix/certificate/v1/certificate_pb";
import { EventService } from "./gen/quantix/event/v1/event_pb";
import { HostService } from "./gen/quantix/host/v1/host_pb";
import { ImageService } from "./gen/quantix/image/v1/image_pb";
import { PoolService } from "./gen/quantix/pool/v1/pool_pb";
import { SystemService } from "./gen/quantix/system/v1/system_pb";
import { TaskService } from "./gen/quantix/task/v1/task_pb";
import { VmService } from "./gen/quantix/vm/v1/vm_pb";
import { VolumeService } from "./gen/quantix/volume/v1/volume_pb";
import type { WatchResponse } from "./gen/quantix/watch/v1/watch_pb";

export interface Thing {
  id: string;
}
interface Noun {
  list: DescMethod;
  get: DescMethod;
  field: string;
}

export const NOUNS: Record<string, Noun> = {
  host: { list: HostService.method.listHosts, get: HostService.method.getHost, field: "hosts" },
  pool: { list: PoolService.method.listPools, get: PoolService.method.getPool, field: "pools" },
  image: { list: ImageService.method.listImages, get: ImageService.method.getImage, field: "images" },
  volume: { list: VolumeService.method.listVolumes, get: VolumeService.method.getVolume, field: "volumes" },
  vm: { list: VmService.method.listVms, get: VmService.method.getVm, field: "vms" },
  task: { list: TaskService.method.listTasks, get: TaskService.method.getTask, field: "tasks" },
};

/** Of all queries of a method, whatever they ask. */
export function methodKey(method: DescMethod) {
  return createConnectQueryKey({ schema: method as never, cardinality: undefined });
}

type Answer = Record<string, unknown> & { total: bigint };

/** The rows of all pages of a list. */
export function rowsOf(data: unknown, field: string): Thing[] {
  if (data === undefined) return [];
  const pages = (data as InfiniteData<Answer>).pages;
  return (Array.isArray(pages) ? pages : [data as Answer]).flatMap((answer) => answer[field] as Thing[]);
}

function mapPages(data: unknown, change: (answer: Answer) => Answer): unknown {
  const pages = (data as InfiniteData<Answer>).pages;
  if (Array.isArray(pages)) return { ...(data as object), pages: pages.map(change) };
  return change(data as Answer);
}

/** Puts `thing` where it stands already. False when no page of the list holds it. */
export function replaceIn(data: unknown, field: string, thing: Thing): { data: unknown; found: boolean } {
  let found = false;
  const next = mapPages(data, (answer) => {
    const rows = answer[field] as Thing[];
    const at = rows.findIndex((row) => row.id === thing.id);
    if (at < 0) return answer;
    found = true;
    return { ...answer, [field]: rows.with(at, thing) };
  });
  return { data: next, found };
}

/** Takes the object out of every page and lowers the total. */
export function removeFrom(data: unknown, field: string, id: string): unknown {
  let gone = 0n;
  const without = mapPages(data, (answer) => {
    const rows = answer[field] as Thing[];
    const kept = rows.filter((row) => row.id !== id);
    if (kept.length === rows.length) return answer;
    gone = 1n;
    return { ...answer, [field]: kept };
  });
  return gone === 0n ? data : mapPages(without, (a) => ({ ...a, total: a.total > 0n ? a.total - 1n : 0n }));
}

/** Applies events to the caches of one client. */
export class CachePatcher {
  readonly #client: QueryClient;
  readonly #due = new Map<DescMethod, ReturnType<typeof setTimeout>>();

  constructor(client: QueryClient) {
    this.#client = client;
  }

  apply(response: WatchResponse): void {
    const { event } = response;
    switch (event.case) {
      case "host":
      case "pool":
      case "image":
      case "volume":
      case "vm":
      case "task":
        this.#put(event.case, event.value);
        break;
      // Both are sorted by the vDC; a new one changes the order.
      case "happened":
        this.#soon(EventService.method.listEvents);
        break;
      case "alert":
        this.#soon(AlertService.method.listAlerts);
        break;
      case "removed":
        if (event.value.kind === "alert") this.#soon(AlertService.method.listAlerts);
        else this.#remove(event.value.kind, event.value.id);
        break;
      case "elsewhere":
        this.#elsewhere(event.value.kind);
        break;
      case "resync":
        this.resync();
        break;
      default:
        break;
    }
  }

  /** Reads again what is on screen: after a gap nobody knows what was missed. */
  resync(): void {
    void this.#client.invalidateQueries();
  }

  #put(kind: string, thing: Thing): void {
    const noun = NOUNS[kind];
    if (!noun) return;
    const getKey = createConnectQueryKey({ schema: noun.get as never, input: { id: thing.id }, cardinality: undefined });
    this.#client.setQueriesData({ queryKey: getKey }, (old) => (old === undefined ? undefined : thing));
    for (const query of this.#lists(noun)) {
      const { data, found } = replaceIn(query.state.data, noun.field, thing);
      if (found) this.#client.setQueryData(query.queryKey, data);
      else this.#soon(noun.list);
    }
    if (kind !== "task") this.#soon(SystemService.method.getSummary);
  }

  /** Things that are not shown changed: lists may be others now, and what is kept of them is old. */
  #elsewhere(kind: string): void {
    if (kind === "event") this.#soon(EventService.method.listEvents);
    if (kind === "alert") this.#soon(AlertService.method.listAlerts);
    if (kind === "certificate") this.#soon(CertificateService.method.getCertificates);
    const noun = NOUNS[kind];
    if (!noun) return;
    this.#soon(noun.list);
    void this.#client.invalidateQueries({ queryKey: methodKey(noun.get), type: "inactive", refetchType: "none" });
    if (kind !== "task") this.#soon(SystemService.method.getSummary);
  }

  #remove(kind: string, id: string): void {
    const noun = NOUNS[kind];
    if (!noun) return;
    for (const query of this.#lists(noun)) {
      this.#client.setQueryData(query.queryKey, removeFrom(query.state.data, noun.field, id));
    }
    const getKey = createConnectQueryKey({ schema: noun.get as never, input: { id }, cardinality: undefined });
    void this.#client.invalidateQueries({ queryKey: getKey });
    this.#soon(SystemService.method.getSummary);
  }

  #lists(noun: Noun) {
    return this.#client
      .getQueryCache()
      .findAll({ queryKey: methodKey(noun.list) })
      .filter((query) => query.state.data !== undefined);
  }

  /** Asks again, once per burst. */
  #soon(method: DescMethod): void {
    if (this.#due.has(method)) return;
    const timer = setTimeout(() => {
      this.#due.delete(method);
      void this.#client.invalidateQueries({ queryKey: methodKey(method) });
    }, 400);
    this.#due.set(method, timer);
  }
}
