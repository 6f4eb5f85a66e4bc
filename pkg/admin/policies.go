// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"net/http"

	"github.com/halfclose/halfclose/pkg/api"
)

// policyParams binds the parameters of GET /v1/policies.
func policyParams(q *api.PodQuery) params {
	return params{textParam("namespace", &q.Namespace), textParam("pod", &q.Pod)}
}

func (s *Server) policies(r *http.Request) (any, error) {
	var q api.PodQuery
	if err := policyParams(&q).decode(r.URL.RawQuery); err != nil {
		return nil, err
	}
	return s.Reaper.Policies(r.Context(), q)
}

// Policies returns the effective policies of the attachments that q covers, and the node's policy file.
func (c *Client) Policies(ctx context.Context, q api.PodQuery) (list api.PolicyList, err error) {
	return list, c.ask(ctx, http.MethodGet, policyParams(&q).encode("/v1/policies"), nil, answerTimeout, whole(&list))
}
