// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// imager is a runtime that loads images and runs their programs.
type imager interface {
	// runOnce loads the archive, and runs its image to the end.
	runOnce(t *testing.T, archive, image string, args ...string) (stdout string)
}

// ownImageRuns loads the project's own image, of several platforms, and runs it.
func ownImageRuns(t *testing.T, s *site) {
	i, ok := s.runtime.(imager)
	if !ok {
		t.Skipf("%s has no images", s.name)
	}
	archive := os.Getenv(imageVar)
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(archive) })
	if err != nil {
		t.Fatalf("%v: run make e2e", err)
	}
	image := manifest[0].RepoTags[0]
	want := run(t, exec.Command(command, "version"))
	if got := i.runOnce(t, archive, image, "version"); got != want {
		t.Errorf("in its image it is %q, outside %q", got, want)
	}
}

func (c *containerd) runOnce(t *testing.T, archive, image string, args ...string) string {
	t.Helper()
	c.importImage(t, archive)
	// ctr ignores the image's entrypoint if it has arguments.
	args = append([]string{"-n", "k8s.io", "run", "--rm", "--cgroup", "/once", image, "once", "/usr/local/bin/halfclose"}, args...)
	return run(t, exec.Command(c.path(t, "ctr"), args...))
}

func (podman) runOnce(t *testing.T, archive, image string, args ...string) string {
	t.Helper()
	podmanRun(t, "load", "--input", archive)
	args = append([]string{"run", "--rm", "--pull", "never", "--network", "none", image}, args...)
	return run(t, podmanCommand(t, args...))
}
