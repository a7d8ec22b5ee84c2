// Holds the one stream that tells what changed of what is on screen. Silence is a broken line: ticks come every 10 seconds.
//
//   connecting ──hello──▶ live ──silence or error──▶ stale ──hello──▶ live (and, if it was away too long, read everything again)
import { createClient, type Transport } from "@connectrpc/connect";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { QueryClient } from "@tanstack/react-query";
import { setServerClock } from "../ui/time";
import { CachePatcher } from "./cache";
import { FaultCode } from "./gen/quantix/fault/v1/fault_pb";
import { codeOf } from "./fault";
import { gazeOf } from "./gaze";
import { WatchService, type WatchResponse } from "./gen/quantix/watch/v1/watch_pb";

const SILENCE_MS = 25_000;
/** What is on screen is told once it stood for so long. */
const GAZE_MS = 100;
const BACK_OFF_MS = [500, 1_000, 2_000, 4_000, 8_000];

export type LineState = { kind: "connecting" } | { kind: "live" } | { kind: "stale"; since: number };

export class WatchLine {
  readonly #client;
  readonly #patcher: CachePatcher;
  readonly #queries: QueryClient;
  readonly #listeners = new Set<() => void>();
  #state: LineState = { kind: "connecting" };
  #stop = new AbortController();
  #running = false;
  #epoch = "";
  #revision = 0n;
  #watchId = "";
  /** What the vDC was told that is on screen. */
  #gaze = "";
  #gazeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(transport: Transport, queries: QueryClient) {
    this.#client = createClient(WatchService, transport);
    this.#patcher = new CachePatcher(queries);
    this.#queries = queries;
    queries.getQueryCache().subscribe(() => this.#look());
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  state = (): LineState => this.#state;

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#stop = new AbortController();
    void this.#run(this.#stop.signal);
  }

  stop(): void {
    this.#running = false;
    this.#stop.abort();
    this.#set({ kind: "connecting" });
    this.#epoch = "";
    this.#watchId = "";
  }

  /** Tells the vDC what is on screen, when that is something else than before. */
  #look(): void {
    if (this.#gazeTimer !== undefined || this.#watchId === "") return;
    this.#gazeTimer = setTimeout(() => {
      this.#gazeTimer = undefined;
      const sights = gazeOf(this.#queries);
      const gaze = JSON.stringify(sights);
      if (gaze === this.#gaze || this.#watchId === "") return;
      this.#gaze = gaze;
      const watchId = this.#watchId;
      // A line that is gone is told with the next one.
      this.#client.look({ watchId, gaze: { sights } }).catch(() => {
        if (this.#watchId === watchId) this.#gaze = "";
      });
    }, GAZE_MS);
  }

  async #run(stop: AbortSignal): Promise<void> {
    let failures = 0;
    while (!stop.aborted) {
      const line = new AbortController();
      const end = () => line.abort();
      stop.addEventListener("abort", end, { once: true });
      let silence = setTimeout(end, SILENCE_MS);
      const sights = gazeOf(this.#queries);
      this.#gaze = JSON.stringify(sights);
      const from = { epoch: this.#epoch, revision: this.#revision, gaze: { sights } };
      try {
        for await (const response of this.#client.watch(from, { signal: line.signal })) {
          clearTimeout(silence);
          silence = setTimeout(end, SILENCE_MS);
          failures = 0;
          this.#take(response);
        }
      } catch (error) {
        const code = codeOf(error);
        if (code === FaultCode.NOT_SIGNED_IN || code === FaultCode.PASSWORD_CHANGE_REQUIRED) {
          if (!stop.aborted) this.stop();
          return;
        }
      } finally {
        clearTimeout(silence);
        stop.removeEventListener("abort", end);
      }
      this.#watchId = "";
      if (stop.aborted) return;
      if (this.#state.kind !== "stale") this.#set({ kind: "stale", since: Date.now() });
      await pause(BACK_OFF_MS[Math.min(failures++, BACK_OFF_MS.length - 1)] ?? 8_000, stop);
    }
  }

  #take(response: WatchResponse): void {
    const { event } = response;
    this.#revision = response.revision;
    if (event.case === "hello") {
      if (event.value.now) setServerClock(timestampMs(event.value.now));
      const missed = this.#epoch !== "" && !event.value.resumed;
      this.#epoch = event.value.epoch;
      this.#watchId = event.value.watchId;
      this.#set({ kind: "live" });
      if (missed) this.#patcher.resync();
      this.#look();
      return;
    }
    if (event.case === "tick" && event.value.now) setServerClock(timestampMs(event.value.now));
    this.#patcher.apply(response);
  }

  #set(state: LineState): void {
    this.#state = state;
    for (const listener of this.#listeners) listener();
  }
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    stop.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
