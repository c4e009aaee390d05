// What the OpenAPI 3.1 description says beside the routes. docs/openapi.json is made from both and diffed.

import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'

export const openApi = {
  openapi: '3.1.0',
  info: {
    title: 'Vouchsafe',
    description: 'Third-party identity verification: a sealed chip reading in, yes or no and a token out.',
    version: '1',
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
  },
  components: {
    securitySchemes: {
      deviceToken: {
        type: 'http',
        scheme: 'bearer',
        bearerFormat: 'JWT',
        description: 'Device token of POST /v1/sessions',
      },
      carrierCertificate: { type: 'mutualTLS', description: 'SAN urn:vouchsafe:carrier:<id>' },
      operator: { type: 'http', scheme: 'basic', description: 'Name and secret of a named operator' },
    },
  },
} as unknown as NonNullable<FastifyDynamicSwaggerOptions['openapi']> // Its types lack mutualTLS (OpenAPI 3.1).
