// Checks X-Menshen-Assertion: RequireAuthorization() then refuses whoever has none.
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.IdentityModel.Protocols;
using Microsoft.IdentityModel.Protocols.OpenIdConnect;
using Microsoft.IdentityModel.Tokens;

static class Assertion
{
    public static void AddAssertion(this IServiceCollection services, string jwks, string audience) =>
        services.AddAuthorization().AddAuthentication(JwtBearerDefaults.AuthenticationScheme).AddJwtBearer(options =>
        {
            // Keys are kept, and fetched again for an unknown kid.
            options.ConfigurationManager = new ConfigurationManager<OpenIdConnectConfiguration>(
                jwks, new Keys(), new HttpDocumentRetriever { RequireHttps = false });
            options.MapInboundClaims = false;
            options.TokenValidationParameters = new TokenValidationParameters
            {
                ValidAlgorithms = new[] { SecurityAlgorithms.EcdsaSha256 },
                ValidTypes = new[] { "assertion+jwt" },
                ValidIssuer = "menshen",
                ValidAudience = audience,
                ClockSkew = TimeSpan.Zero,
                NameClaimType = "sub",
            };
            options.Events = new JwtBearerEvents
            {
                OnMessageReceived = context =>
                {
                    context.Token = context.Request.Headers["X-Menshen-Assertion"];
                    // Without this, a token in Authorization would be taken instead.
                    if (string.IsNullOrEmpty(context.Token)) context.NoResult();
                    return Task.CompletedTask;
                },
            };
        });

    sealed class Keys : IConfigurationRetriever<OpenIdConnectConfiguration>
    {
        public async Task<OpenIdConnectConfiguration> GetConfigurationAsync(
            string address, IDocumentRetriever retriever, CancellationToken cancel)
        {
            var configuration = new OpenIdConnectConfiguration();
            var keys = new JsonWebKeySet(await retriever.GetDocumentAsync(address, cancel));
            foreach (var key in keys.GetSigningKeys()) configuration.SigningKeys.Add(key);
            return configuration;
        }
    }
}
