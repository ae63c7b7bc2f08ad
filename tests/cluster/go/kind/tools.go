//go:build tools

// Package kind pins the program of kind that the tests build by its package path.
package kind

import _ "sigs.k8s.io/kind"
