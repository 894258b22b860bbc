"""A lab machine that is an OSISM manager with kolla's Prometheus, as far as that can be had without OSISM's images (docs/osism_test_host.md)."""
