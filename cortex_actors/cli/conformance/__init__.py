"""``cortexd conformance``: whether a server keeps to the APIs that clients rely on."""
