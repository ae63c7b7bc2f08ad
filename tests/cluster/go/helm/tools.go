//go:build tools

// Package helm pins the program of helm that the tests build by its package path.
package helm

import _ "helm.sh/helm/v4/cmd/helm"
