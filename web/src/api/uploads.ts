// Uploads under way in this browser: they outlive the page that started them and resume after a broken line.
import type { Upload } from "tus-js-client";
import type { FaultView } from "../ui/fault";

/** `waiting`: the line is broken and will be tried again. */
export type UploadState = "sending" | "waiting" | "sent" | "failed";

export interface UploadView {
  imageId: string;
  name: string;
  state: UploadState;
  sentBytes: number;
  totalBytes: number;
  /** Over the last seconds; 0 until measured. */
  bytesPerSecond: number;
  fault?: FaultView;
}

const CHUNK_BYTES = 32 * 1024 * 1024;
const RETRY_DELAYS_MS = [0, 1000, 2000, 4000, 8000, 8000, 15000, 15000, 30000, 30000, 60000, 60000];
const RATE_WINDOW_MS = 5_000;

interface Running {
  view: UploadView;
  marks: { at: number; bytes: number }[];
  upload?: Upload;
}

export class Uploads {
  readonly #running = new Map<string, Running>();
  readonly #listeners = new Set<() => void>();
  #snapshot: readonly UploadView[] = [];

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): readonly UploadView[] => this.#snapshot;

  /** Sends `file` to `path`, from wherever the vDC says it stands. */
  async start(imageId: string, name: string, path: string, file: File): Promise<void> {
    const running: Running = {
      view: { imageId, name, state: "sending", sentBytes: 0, totalBytes: file.size, bytesPerSecond: 0 },
      marks: [],
    };
    this.#running.set(imageId, running);
    this.#publish();
    const tus = await import("tus-js-client");
    const upload = new tus.Upload(file, {
      uploadUrl: new URL(path, window.location.href).href,
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_DELAYS_MS,
      storeFingerprintForResuming: false,
      removeFingerprintOnSuccess: true,
      onShouldRetry: (error) => {
        const again = mayRetry(error);
        if (again) this.#change(running, { state: "waiting", bytesPerSecond: 0 });
        return again;
      },
      onProgress: (sent) => this.#progress(running, sent),
      onSuccess: () => this.#change(running, { state: "sent", sentBytes: file.size }),
      onError: (error) => this.#change(running, { state: "failed", fault: uploadFault(error) }),
    });
    running.upload = upload;
    upload.start();
  }

  /** Stops sending; the vDC is told by deleting the image. */
  async stop(imageId: string): Promise<void> {
    const running = this.#running.get(imageId);
    if (!running) return;
    await running.upload?.abort(false);
    this.#running.delete(imageId);
    this.#publish();
  }

  /** Forgets an upload that came to its end. */
  forget(imageId: string): void {
    const state = this.#running.get(imageId)?.view.state;
    if (state !== "sent" && state !== "failed") return;
    this.#running.delete(imageId);
    this.#publish();
  }

  #progress(running: Running, sent: number): void {
    const now = performance.now();
    running.marks.push({ at: now, bytes: sent });
    while (running.marks.length > 2 && now - (running.marks[0]?.at ?? now) > RATE_WINDOW_MS) running.marks.shift();
    const first = running.marks[0];
    const seconds = first ? (now - first.at) / 1000 : 0;
    const rate = first && seconds > 0.5 ? Math.max(0, (sent - first.bytes) / seconds) : running.view.bytesPerSecond;
    this.#change(running, { state: "sending", sentBytes: sent, bytesPerSecond: rate });
  }

  #change(running: Running, part: Partial<UploadView>): void {
    running.view = { ...running.view, ...part };
    this.#publish();
  }

  #publish(): void {
    this.#snapshot = [...this.#running.values()].map((r) => r.view);
    for (const listener of this.#listeners) listener();
  }
}

/** Answers that trying again will not change: not signed in, not allowed, no such upload, gone, too large. */
const FINAL_STATUS = new Set([401, 403, 404, 410, 413]);
/** Refusals that pass by themselves, as after a restart of the vDC that no host has reported to yet. */
const PASSING_CODES = new Set(["HOST_DISCONNECTED", "HOST_UNREACHABLE", "POOL_NOT_READY", "POOL_STALLED", "BUSY", "STORE_UNAVAILABLE", "DEADLINE_EXCEEDED", "UPLOAD_OFFSET_MISMATCH"]);

export function mayRetry(error: Error): boolean {
  const response = "originalResponse" in error ? (error as { originalResponse?: { getStatus(): number; getBody(): string } }).originalResponse : undefined;
  const status = response?.getStatus() ?? 0;
  if (FINAL_STATUS.has(status)) return false;
  // A question about the offset (HEAD) is answered without a body: nothing says that it is final.
  if (status < 400 || status >= 500 || status === 409 || status === 423 || !response?.getBody()) return true;
  return PASSING_CODES.has(uploadFault(error).code);
}

/** The vDC answers refused chunks with a JSON fault. */
export function uploadFault(error: Error): FaultView {
  const body = "originalResponse" in error ? (error as { originalResponse?: { getBody(): string } }).originalResponse?.getBody() : "";
  try {
    const fault = (JSON.parse(body || "{}") as { fault?: Partial<FaultView> & { code?: string } }).fault;
    if (fault?.message) {
      return {
        code: String(fault.code ?? "INTERNAL").toUpperCase(),
        message: fault.message,
        cause: fault.cause ?? "",
        remedy: fault.remedy ?? "",
        host: fault.host ?? "",
      };
    }
  } catch {
    // No JSON: the text below is all there is.
  }
  return {
    code: "UPLOAD_BROKEN",
    message: "The upload broke off.",
    cause: error.message,
    remedy: "Choose the same file again to resume where it stopped.",
  };
}
