//go:build tools

// Package etcd pins the program of etcd that the tests build by its package path.
package etcd

import _ "go.etcd.io/etcd/server/v3"
