//go:build tools

// Package etcd names what is built from go.mod, so that "go mod tidy" keeps it.
package etcd

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
