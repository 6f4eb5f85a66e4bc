// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/reaper"
)

func TestPoliciesAreServed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	n := newNode(t, func(c *reaper.Config) { c.PolicyFile = policyfile.Location{Path: path} })
	list, err := n.Policies(t.Context(), api.PodQuery{Namespace: "shop", Pod: "web"})
	if err != nil || list.PolicyFile.Path != path || list.PolicyFile.State != api.PolicyFileAbsent || list.Policies == nil || len(list.Policies) > 0 {
		t.Errorf("got %+v, %v", list, err)
	}
	if a := n.get("/v1/policies?name=web"); a.code != http.StatusBadRequest {
		t.Errorf("an unknown parameter: %d %s", a.code, a.body)
	}
}
