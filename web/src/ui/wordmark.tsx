// The name as a mark: a ring with a core, and the word.
export function Wordmark() {
  return (
    <span className="q-wordmark" role="img" aria-label="Quantix">
      <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
        <rect width="32" height="32" rx="7" className="q-wordmark__ground" />
        <path
          d="M16 6.5a9.5 9.5 0 1 0 5.9 16.95l3.3 3.05 2-2.15-3.25-3A9.5 9.5 0 0 0 16 6.5Zm0 3.2a6.3 6.3 0 1 1 0 12.6 6.3 6.3 0 0 1 0-12.6Z"
          className="q-wordmark__figure"
        />
        <circle cx="16" cy="16" r="2.4" className="q-wordmark__figure" />
      </svg>
      <span aria-hidden="true">Quantix</span>
    </span>
  );
}
