// Command crictl answers the two questions that kind asks of crictl in a node: `crictl inspecti IMAGE`, whether an image is there,
// and `crictl images`, which ones are. The answers are JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	endpoint = "unix:///run/containerd/containerd.sock"
	deadline = 10 * time.Second
)

type image struct {
	ID          string   `json:"id"`
	RepoTags    []string `json:"repoTags"`
	RepoDigests []string `json:"repoDigests"`
	Size        uint64   `json:"size,string"`
}

func describe(found *runtime.Image) image {
	return image{found.GetId(), found.GetRepoTags(), found.GetRepoDigests(), found.GetSize()}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	connection, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	images := runtime.NewImageServiceClient(connection)
	switch {
	case len(arguments) == 2 && arguments[0] == "inspecti":
		answer, err := images.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: arguments[1]}})
		if err != nil {
			return err
		}
		if answer.GetImage() == nil {
			return fmt.Errorf("no such image %q", arguments[1])
		}
		return show(map[string]any{"status": describe(answer.GetImage())})
	case len(arguments) == 1 && arguments[0] == "images":
		answer, err := images.ListImages(ctx, &runtime.ListImagesRequest{})
		if err != nil {
			return err
		}
		all := []image{}
		for _, found := range answer.GetImages() {
			all = append(all, describe(found))
		}
		return show(map[string]any{"images": all})
	default:
		return fmt.Errorf("of crictl there are only `inspecti IMAGE` and `images`")
	}
}

func show(answer any) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(answer)
}
