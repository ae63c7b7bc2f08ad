//go:build tools

// Package coredns pins the program of coredns that the tests build by its package path.
package coredns

import _ "github.com/coredns/coredns"
